"""Speed and memory of the pixel metrics against scikit-learn and the 200-threshold PRO."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from zsas_jax.benchmarks import timing
from zsas_jax.benchmarks.results import Row
from zsas_jax.errors import ConfigError
from zsas_jax.metrics import StreamingMetrics
from zsas_jax.metrics.regions import label_regions

QUESTION = "How long do pixel AUROC, AP, F1-max and PRO take?"
_SIDE = 1000
_ROWS, _COLUMNS = 4, 5  # of regions in a map, one in each cell
_REGION = (20, 25)  # 20 of them are 1 % of a map
_PRO_STEPS = 200
_PRO_LIMIT = 0.3


def measure(maps: int, repeats: int, peer: bool) -> list[Row]:
    """Rows of seconds of all four metrics, for a quarter of the maps and for all.

    Args:
        maps: of 1000 x 1000 pixels; 1 % are anomalous, in 20 regions a map.
        repeats: alternating rounds.
        peer: whether scikit-learn runs too (80 bytes a pixel).

    Raises:
        ConfigError: no maps.
    """
    if maps < 1:
        raise ConfigError(f"--maps is {maps}: expected at least 1")
    values, masks = random_maps(maps, 0)
    rows: list[Row] = []
    for count in sorted({max(1, maps // 4), maps}):
        some, truth = values[:count], masks[:count]
        runs: dict[str, timing.Run] = {"ours": lambda some=some, truth=truth: _ours(some, truth)}
        if peer:
            runs["usual"] = lambda some=some, truth=truth: _usual(some, truth)
        labels = {"question": QUESTION, "pixels": f"{some.size:,}"}
        found = timing.compare(runs, repeats, labels)
        for row in found:
            used = timing.memory_above(runs[row["program"]])
            row["MiB above the maps"] = used and used / 2**20
        rows += found
    return rows


def _ours(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    found = streaming(maps, masks)
    names = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_pro")
    return np.array([found[name] for name in names])


def _usual(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return np.array([program() for _, program in usual_programs(maps, masks)])


def random_maps(
    count: int, seed: int
) -> tuple[Float32[np.ndarray, "n h w"], Bool[np.ndarray, "n h w"]]:
    """Sigmoids of noise, higher inside rectangles that are spread over the map."""
    rng = np.random.default_rng(seed)
    maps = np.empty((count, _SIDE, _SIDE), np.float32)
    masks = np.zeros(maps.shape, bool)
    cell = _SIDE // _ROWS, _SIDE // _COLUMNS
    for anomaly_map, mask in zip(maps, masks, strict=True):
        for row, column in np.ndindex(_ROWS, _COLUMNS):
            top = row * cell[0] + rng.integers(1, cell[0] - _REGION[0])
            left = column * cell[1] + rng.integers(1, cell[1] - _REGION[1])
            mask[top : top + _REGION[0], left : left + _REGION[1]] = True
        logits = rng.standard_normal(mask.shape, np.float32) * np.float32(1.5) + 2 * mask - 4
        anomaly_map[:] = 1 / (1 + np.exp(-logits))
    return maps, masks


def streaming(
    maps: Float32[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"]
) -> dict[str, Any]:
    """All four by one pass, an image at a time."""
    metrics = StreamingMetrics()
    for anomaly_map, mask in zip(maps, masks, strict=True):
        metrics.update(anomaly_map, mask)
    return metrics.result()


def usual_programs(
    maps: Float32[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"]
) -> Iterator[tuple[str, Callable[[], float]]]:
    """Metric and program."""
    from sklearn import metrics

    truth, scores = masks.reshape(-1), maps.reshape(-1)

    def f1_max() -> float:
        precision, recall, _ = metrics.precision_recall_curve(truth, scores)
        return float((2 * precision * recall / np.maximum(precision + recall, 1e-30)).max())

    yield "pixel_auroc", lambda: metrics.roc_auc_score(truth, scores)
    yield "pixel_ap", lambda: metrics.average_precision_score(truth, scores)
    yield "pixel_f1_max", f1_max
    yield "pixel_pro", lambda: threshold_pro(maps, masks)


def threshold_pro(maps: Float32[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"]) -> float:
    """One prediction per threshold, one overlap per region.

    The released programs also label every mask anew at each threshold; here they are labelled
    once, in favour of the usual way. Interpolated at the limit as the exact PRO, to compare.
    """
    regions = []
    for index, mask in enumerate(masks):
        labels, count = label_regions(mask)
        inside = np.flatnonzero(labels)
        order = np.argsort(labels.reshape(-1)[inside], kind="stable")
        areas = np.bincount(labels.reshape(-1)[inside], minlength=count + 1)[1:]
        parts = np.split(inside[order], np.cumsum(areas)[:-1])
        regions += [(index, part) for part in parts]
    low, high = maps.min(), maps.max()
    normal = ~masks
    rates, overlaps = [0.0], [0.0]
    for step in range(_PRO_STEPS):
        predicted = maps > high - (step + 1) * (high - low) / _PRO_STEPS
        flat = predicted.reshape(len(maps), -1)
        overlaps.append(float(np.mean([flat[index, part].mean() for index, part in regions])))
        rates.append(float(np.logical_and(predicted, normal).sum() / normal.sum()))
    x = np.append([rate for rate in rates if rate < _PRO_LIMIT], _PRO_LIMIT)
    return float(np.trapezoid(np.interp(x, rates, overlaps), x) / _PRO_LIMIT)
