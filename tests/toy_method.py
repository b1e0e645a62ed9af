"""A method without networks, and a source of small photos, for tests of everything around them."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from zsas_jax import methods
from zsas_jax.checkpoints import Bundle, Config
from zsas_jax.evaluation.options import Origin, Outputs, Pace
from zsas_jax.evaluation.run import evaluate
from zsas_jax.methods.base import Boxes, Heat, Maps, Masks, Method, Points
from zsas_jax.networks import Networks

SHAPES = [(40, 56), (300, 20), (33, 33), (64, 48), (20, 20)]
LEVEL = np.float32(1 / 255)
traces = []  # one entry for each compiled program


@dataclasses.dataclass(frozen=True)
class Toy:
    """Settings of the toy method."""

    gain: float = 1.0
    score: str = "map"


def red(image):
    """What the toy method finds anomalous."""
    return image[..., 0].astype(np.float32) * LEVEL


def prepare(bundle, categories, config, request):
    return {"number": np.arange(len(categories), dtype=np.float32)}


def segment(networks, photos, context, config, compute):
    traces.append(config)
    maps = photos.images[..., 0].astype(jnp.float32) * LEVEL * config.gain
    count = len(maps)
    points = Points(
        jnp.full((count, 2, 3, 2), 10.0),
        jnp.tile(jnp.array([1, 0, 1]), (count, 2, 1)),
        jnp.tile(jnp.array([[True, True, False], [False] * 3]), (count, 1, 1)),
    )
    valid = jnp.tile(jnp.array([True, False]), (count, 1))
    masks = Masks(
        jnp.ones((count, 2, 3, 8, 8)), jnp.zeros((count, 2, 3)), jnp.ones((count, 2)), valid
    )
    stages = {
        "first map": Heat(maps**2),
        "points": points,
        "boxes": Boxes(jnp.full((count, 2, 4), 5.0), valid),
        "masks": masks,
    }
    score = {
        "map": maps.max((1, 2)),
        "category": context["number"] / 10,
        "faulty": jnp.full(count, jnp.nan),
    }[config.score]
    return Maps(maps, score, stages)


TOY = Method("toy", "no paper", Toy, lambda config: (), prepare, segment)


def register():
    """Makes the toy method known; returns what makes it unknown again."""
    methods.register(TOY)
    return lambda: methods.METHODS.pop("toy")


BUNDLE = Bundle(Networks(), {}, Config(method="toy"))


class Fatal:
    """A mask at which the run ends, as by a kill."""

    def __fspath__(self):
        raise KeyboardInterrupt


class Source:
    """Ten photos of two categories, every other one with a defect."""

    categories = ("metal nut", "tile")

    has_masks = True

    def __init__(self, broken=(), fatal=None):
        self.broken, self.fatal, self.reads = broken, fatal, []

    def __len__(self):
        return 2 * len(SHAPES)

    def arrays(self, index):
        rng = np.random.default_rng(index)
        height, width = SHAPES[index % len(SHAPES)]
        image = rng.integers(0, 200, (height, width, 3), np.uint8)
        mask = np.zeros((height, width), bool)
        if index % 2:
            mask[4:15, 5:12] = True
            image[..., 0] += (mask * rng.integers(0, 56, mask.shape)).astype(np.uint8)
        return image, mask

    def __getitem__(self, index):
        self.reads.append(index)
        image, mask = self.arrays(index)
        return {
            "image": b"broken" if index in self.broken else image,
            "mask": Fatal() if index == self.fatal else mask if mask.any() else None,
            "name": f"{'crack' if index % 2 else 'good'}/{index}.jpg",
            "category": self.categories[index // len(SHAPES)],
            "defect": "crack" if index % 2 else "good",
            "label": index % 2,
        }


def run(
    source,
    tmp_path,
    *,
    overlays=3,
    pictures=0,
    maps=False,
    batch_size=8,
    journal_seconds=2.0,
    fingerprint=None,
    **options,
):
    """`evaluate` with the toy method, its groups of options laid flat."""
    return evaluate(
        BUNDLE,
        source,
        dataset=options.pop("dataset", "mvtec"),
        output_dir=tmp_path,
        outputs=Outputs(overlays, pictures, maps),
        pace=Pace(batch_size, journal_seconds=journal_seconds, progress=False),
        origin=Origin(fingerprint),
        **options,
    )
