"""A line of mostly good parts: the cascade with SAM for all parts, or for those that need it."""

import dataclasses
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from zsas_jax.benchmarks import timing
from zsas_jax.benchmarks.pipeline import networks_of, pictures, run_ours
from zsas_jax.cli.common import set_up_xla
from zsas_jax.config import PipelineConfig
from zsas_jax.errors import ConfigError
from zsas_jax.networks.base import Model
from zsas_jax.parts.rough import rough_segmentation
from zsas_jax.segment import frames_of, rough_in_frame

_rough = jax.jit(rough_segmentation, static_argnames=("kind", "config"))
CHOICES = ("tiny", "b", "l", "h")


def main(
    model: str = "tiny",
    percents: tuple[float, ...] = (1.0, 10.0, 100.0),
    stream: int = 0,
    batch_size: int = 1,
    image_side: int = 0,
    repeats: int = 5,
    output: pathlib.Path | None = None,
) -> None:
    """Prints a table of seconds per part for several shares of anomalous parts.

    A good part and an anomalous one are timed in turn, each with and without the option; a line's
    time per part is their mean by share. With `stream` a whole line of so many parts is run too.

    Args:
        model: tiny, or b, l, h: random weights, CLIP ViT-L/14@336 at 518 and SAM of that size.
        percents: shares of anomalous parts.
        stream: parts of a line that is really run, for every share; 0: none.
        batch_size: parts in one run of the stream.
        image_side: of the pictures in pixels; default 256 for tiny and 1024 for the others.
        repeats: alternating runs.
        output: a JSON file for the figures.
    """
    if model not in CHOICES:
        raise ConfigError(f"--model is {model!r}: expected {', '.join(CHOICES)}")
    if batch_size < 1 or stream < 0 or not all(0 <= percent <= 100 for percent in percents):
        raise ConfigError(
            f"--batch-size is {batch_size}, --stream {stream}, --percents {percents}: expected at "
            "least 1, at least 0, and shares of 0 to 100"
        )
    set_up_xla()
    networks, config, text = networks_of(model)
    images = pictures(8, image_side or (256 if model == "tiny" else 1024))
    good, bad, config = apart(networks, images, text, config)
    option = dataclasses.replace(config, refine_at_a_time=1)
    runs = {
        f"{name}, {way}": run_ours(networks, image[None], text, settings)
        for way, settings in (("option", option), ("always", config))
        for name, image in (("good", good), ("anomalous", bad))
    }
    change = np.abs(runs["anomalous, option"]()[0] - runs["anomalous, always"]()[0]).max()
    print(f"largest difference of the refined map: {change:.1e}")
    seconds = timing.alternate(runs, repeats)
    rows = timing.time_rows(seconds, {"model": model}, first="good, option")
    typical = {name: statistics.median(times) for name, times in seconds.items()}
    for percent in percents:
        share = percent / 100
        ways = {
            way: share * typical[f"anomalous, {way}"] + (1 - share) * typical[f"good, {way}"]
            for way in ("option", "always")
        }
        rows += [
            {
                "model": model,
                "program": f"{percent:g} % anomalous, {way}",
                "seconds": ways[way],
                "times option": ways[way] / ways["option"],
            }
            for way in ways
        ]
    for percent in percents if stream else ():
        rows += run_line(networks, (good, bad), text, (option, config), percent, stream, batch_size)
    timing.report(rows, output)


def apart(
    networks: Model, images: np.ndarray, text: np.ndarray, config: PipelineConfig
) -> tuple[np.ndarray, np.ndarray, PipelineConfig]:
    """The pictures with the lowest and the highest rough map, and a threshold between the two."""
    highest = [_highest(networks, image, text, config) for image in images]
    low, high = int(np.argmin(highest)), int(np.argmax(highest))
    threshold = (highest[low] + highest[high]) / 2
    return images[low], images[high], dataclasses.replace(config, rough_threshold=threshold)


def _highest(networks: Model, image: np.ndarray, text: np.ndarray, config: PipelineConfig) -> float:
    """What the option compares with the threshold: of the rough map in SAM's frame."""
    assert networks.sam is not None
    side, sizes = networks.sam.config.image_size, jnp.asarray([image.shape[:2]], jnp.int32)
    rough = _rough(networks, image[None], sizes, text, kind=config.rough, config=config)
    frame, _ = rough_in_frame(rough, frames_of(sizes, side), side)
    return float(frame.max())


def run_line(
    networks: Model,
    parts: tuple[np.ndarray, np.ndarray],
    text: np.ndarray,
    settings: tuple[PipelineConfig, PipelineConfig],
    percent: float,
    count: int,
    batch_size: int,
) -> list[timing.Row]:
    """One pass over a line with each setting: seconds per part."""
    anomalous = np.random.default_rng(0).permutation(count) < round(count * percent / 100)
    rows = []
    for way, config in zip(("option", "always"), settings, strict=True):
        batches = []
        for start in range(0, count, batch_size):
            chosen = anomalous[start : start + batch_size]
            chosen = np.pad(chosen, (0, batch_size - len(chosen)))
            images = np.stack([parts[int(part)] for part in chosen])
            words = np.repeat(text, batch_size, axis=0)
            batches.append(run_ours(networks, images, words, config))
        batches[0]()
        started = time.perf_counter()
        for batch in batches:
            batch()
        seconds = (time.perf_counter() - started) / count
        program = f"line of {count}, {percent:g} % anomalous, {way}"
        rows.append({"program": program, "seconds": seconds})
    for row in rows:
        row["times option"] = row["seconds"] / rows[0]["seconds"]
    return rows
