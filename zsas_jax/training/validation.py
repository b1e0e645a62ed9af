"""Validation of a head: loss, metrics and sample maps on photos that are not trained on."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from zsas_jax.metrics import evaluate_maps, mean_result
from zsas_jax.ops import losses
from zsas_jax.training.config import TrainConfig
from zsas_jax.training.devices import Devices
from zsas_jax.training.loop import Validation

METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_pro", "image_auroc")
# What the best epoch is chosen by; the loss where no photo of the held-out part is anomalous.
SCORE = "pixel_ap"


def make_validation(
    config: TrainConfig,
    side: int,
    measured: Callable[[Any, Any, dict[str, Any]], tuple[Array, Array]],
    samples: list[Callable[[], dict[str, Any]]],
    categories: list[str],
) -> Callable[[Any, Any, Devices], Validation]:
    """Builds the `validate` of a task.

    Args:
        config: of the run.
        side: to which maps and masks are stretched, pixels.
        measured: (params, frozen, batch) -> maps [b, gh, gw] and the loss of each photo by itself.
        samples: reads of the held-out photos: what `measured` takes, mask bool [S, S], shown uint8
            [v, v, 3] and truth bool [v, v].
        categories: of the held-out photos.
    """

    def measure(params, frozen, batch):
        grids, loss = measured(params, frozen, batch)
        maps = losses.upsample(grids.astype(jnp.float32)[..., None], (side, side))[..., 0]
        return maps, loss

    programs: dict[int, Callable] = {}

    def validate(params: Any, frozen: Any, devices: Devices) -> Validation:
        program = programs.setdefault(id(devices), jax.jit(measure, out_shardings=devices.copied))
        maps, loss, shown, truth = [], [], [], []
        for batch, count in _batches(samples, config.batch_size, shown, truth):
            placed = devices.place_batch(_rows(batch))
            found_maps, found_loss = program(params, frozen, placed)
            maps += list(np.asarray(found_maps)[:count])
            loss += list(np.asarray(found_loss)[:count])
        results = []
        for category in dict.fromkeys(categories):
            chosen = [i for i, name in enumerate(categories) if name == category]
            results.append(evaluate_maps([maps[i] for i in chosen], [truth[i] for i in chosen]))
        mean, _ = mean_result(results)
        scalars = {"loss": float(np.mean(loss)), **{name: mean[name] for name in METRICS}}
        score = scalars[SCORE]
        pictures = _pictures(maps, shown, truth, config.sample_maps)
        return Validation(scalars, -scalars["loss"] if score is None else score, pictures)

    return validate


def _batches(
    samples: list[Callable[[], dict[str, Any]]], size: int, shown: list, truth: list
) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Batches of one size, the last one filled up with its first photo; and how many count."""
    for start in range(0, len(samples), size):
        rows = [sample() for sample in samples[start : start + size]]
        shown += [row.pop("shown") for row in rows]
        truth += [row.pop("truth") for row in rows]
        count = len(rows)
        rows += [rows[0]] * (size - count)
        yield {name: np.stack([row[name] for row in rows]) for name in rows[0]}, count


def _rows(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """This process's rows of a whole batch."""
    processes, process = jax.process_count(), jax.process_index()

    def part(rows: np.ndarray) -> np.ndarray:
        each = len(rows) // processes
        return rows[process * each : (process + 1) * each]

    return {name: part(rows) for name, rows in batch.items()}


def _pictures(
    maps: list[np.ndarray], shown: list[np.ndarray], truth: list[np.ndarray], count: int
) -> dict[str, np.ndarray]:
    """Photo, truth and map side by side, of anomalous photos spread evenly."""
    anomalous = [index for index, mask in enumerate(truth) if mask.any()]
    step = max(len(anomalous) // max(count, 1), 1)
    pictures = {}
    for number, index in enumerate(anomalous[::step][:count]):
        grey = [truth[index] * 255.0, np.clip(maps[index], 0, 1) * 255]
        panels = [np.repeat(panel.astype(np.uint8)[..., None], 3, 2) for panel in grey]
        pictures[str(number)] = np.concatenate([shown[index], *panels], axis=1)
    return pictures
