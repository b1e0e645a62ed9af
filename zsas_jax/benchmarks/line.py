"""A line of mostly good parts: the refiner for all of them, or only for those that need it."""

from collections.abc import Sequence

import jax
import numpy as np

from zsas_jax.benchmarks import setups, timing
from zsas_jax.benchmarks.pipeline import run_ours
from zsas_jax.benchmarks.results import Row
from zsas_jax.benchmarks.setups import Setup
from zsas_jax.checkpoints import Compute
from zsas_jax.config import replace_path
from zsas_jax.errors import ConfigError
from zsas_jax.methods import find_method
from zsas_jax.parts.frames import frames_of, map_in_frame

PARTS = "How long does a part take?"
LINES = "How long does a part of a line take, by the line's share of anomalous parts?"
THRESHOLD = "refiner.foreground.threshold"


def measure(
    model: str, percents: Sequence[float], image_side: int | None, repeats: int
) -> list[Row]:
    """Rows of seconds per part, with and without `Compute.refine_at_a_time`.

    A good part and an anomalous one are timed; a line's seconds are their mean by share.

    Args:
        model: see `load_setup`.
        percents: shares of anomalous parts.
        image_side: of the photos, pixels; None: what suits the model.
        repeats: alternating rounds.

    Raises:
        ConfigError: a share outside 0 to 100.
    """
    if not all(0 <= percent <= 100 for percent in percents):
        raise ConfigError(f"--percents is {percents}: expected shares of 0 to 100")
    setup = setups.load_setup(model)
    good, bad, setup = apart(setup, setups.pictures(8, image_side or setup.side))
    ways = {"when needed": Compute(refine_at_a_time=1), "always": Compute()}
    rows: list[Row] = []
    seconds: dict[str, dict[str, float]] = {}
    for part, image in (("good", good), ("anomalous", bad)):
        runs = {way: run_ours(setup, image[None], compute) for way, compute in ways.items()}
        rows += timing.compare(runs, repeats, {"question": PARTS, "model": model, "part": part})
        seconds[part] = {row["program"]: row["seconds"] for row in rows[-len(ways) :]}
    for percent in percents:
        share = percent / 100
        row: Row = {"question": LINES, "model": model, "% anomalous": percent}
        row |= {w: share * seconds["anomalous"][w] + (1 - share) * seconds["good"][w] for w in ways}
        rows.append({**row, "times as fast": row["always"] / row["when needed"]})
    return rows


def apart(setup: Setup, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, Setup]:
    """The pictures of the lowest and the highest rough map, and a threshold between the two."""
    highest = _highest(setup, images)
    low, high = int(np.argmin(highest)), int(np.argmax(highest))
    threshold = float(highest[low] + highest[high]) / 2
    config = replace_path(setup.config, THRESHOLD, threshold)
    return images[low], images[high], setup._replace(config=config)


def _highest(setup: Setup, images: np.ndarray) -> np.ndarray:
    """What is compared with the threshold: the rough map in SAM's frame."""
    head, side = find_method(setup.method).head, setup.bundle.model.sam.config.image_size
    assert head is not None

    @jax.jit
    def highest(networks, photos, rows):
        grid = head.rough(networks, photos, rows, setup.config.head).grid
        framed, _ = map_in_frame(grid, frames_of(photos.sizes, side), side)
        return framed.max((1, 2))

    return np.asarray(highest(setup.bundle.model, *setup.inputs(images)))
