"""What separates training from evaluation: parameter bands that never overlap, and defect names.

Bands are interleaved, so that training still spans the whole range of every parameter while the
values of the evaluation split never occur in it.
"""

from typing import NamedTuple

import numpy as np

from zsas_jax.errors import ConfigError

# Raised when a change of the generator makes other pictures of the same seeds.
VERSION = 12

SPLITS = ("train", "eval")

TRAIN_DEFECTS = (
    "scratch",
    "crack",
    "hole",
    "stain",
    "chip",
    "dent",
    "discoloration",
    "fray",
    "missing_part",
    "wear",
    "fold",
    "glue",
    "rough_patch",
    "flaw",
    "uncoated",
    "burn",
    "ripple",
    "wrong_part",
)
EVAL_DEFECTS = (
    "blowholes",
    "cut",
    "contamination",
    "distortion",
    "uneven_band",
    "corrosion",
    "displaced_part",
)


class Bands(NamedTuple):
    """Half-open value bands per split; `unit` says what the numbers are."""

    train: tuple[tuple[float, float], ...]
    eval: tuple[tuple[float, float], ...]
    unit: str


RANGES = {
    "hue": Bands(
        train=((0, 40), (60, 100), (120, 160), (180, 220), (240, 280), (300, 340)),
        eval=((42, 58), (102, 118), (162, 178), (222, 238), (282, 298), (342, 358)),
        unit="degrees on the colour wheel",
    ),
    "light_azimuth": Bands(
        train=((0, 50), (70, 120), (140, 190), (210, 260), (280, 330)),
        eval=((52, 68), (122, 138), (192, 208), (262, 278), (332, 358)),
        unit="degrees from the x axis",
    ),
    "scale": Bands(
        train=((0.55, 0.8), (1.0, 1.2), (1.45, 1.9)),
        eval=((0.82, 0.98), (1.22, 1.43)),
        unit="multiple of the class's usual pattern frequency",
    ),
    "tilt": Bands(
        train=((0.0, 0.06), (0.10, 0.16)),
        eval=((0.062, 0.098),),
        unit="displacement of a corner by an off-axis view, fraction of the side",
    ),
    "vignette": Bands(
        train=((0.0, 0.15), (0.25, 0.45)),
        eval=((0.16, 0.24),),
        unit="loss of light in the corners, fraction",
    ),
    "roll": Bands(
        train=((-14, -9), (-5, 5), (9, 14)),
        eval=((-8.9, -5.1), (5.1, 8.9)),
        unit="rotation of the camera, degrees",
    ),
    "jpeg_quality": Bands(
        train=((38, 60), (72, 84), (92, 98)),
        eval=((61, 71), (85, 91)),
        unit="quality of the JPEG encoder",
    ),
}


def check_split(split: str) -> None:
    """Raises ConfigError unless `split` is one of `SPLITS`."""
    if split not in SPLITS:
        raise ConfigError(f"split is {split!r}: expected one of {', '.join(SPLITS)}")


def draw_value(
    rng: np.random.Generator,
    split: str,
    name: str,
    low: float | int = -np.inf,
    high: float | int = np.inf,
) -> float:
    """A value of parameter `name` from the split's bands, inside [low, high] where they meet.

    Where no band of the split meets [low, high], the band nearest to it is used whole.
    """
    bands = getattr(RANGES[name], split)
    inside = [(max(a, low), min(b, high)) for a, b in bands if max(a, low) < min(b, high)]
    if not inside:
        middle = (low + high) / 2
        inside = [min(bands, key=lambda band: abs((band[0] + band[1]) / 2 - middle))]
    widths = np.array([b - a for a, b in inside])
    a, b = inside[rng.choice(len(inside), p=widths / widths.sum())]
    return float(a + (b - a) * rng.random())
