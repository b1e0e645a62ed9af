"""Speed and memory of the pixel metrics against scikit-learn and the 200-threshold PRO."""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from zsas_jax.errors import ConfigError
from zsas_jax.metrics import StreamingMetrics
from zsas_jax.metrics.regions import label_regions

_SIDE = 1000
_ROWS, _COLUMNS = 4, 5  # of regions in a map, one in each cell
_REGION = (20, 25)  # 20 of them are 1 % of a map
_PRO_STEPS = 200
_PRO_LIMIT = 0.3


class Seconds(NamedTuple):
    """What a call returned and how long it took; only CPU time is fair on a busy machine."""

    value: Any
    wall: float
    cpu: float


def main(pixels: int = 100_000_000, seed: int = 0, baseline: bool = True) -> None:
    """Pixel AUROC, AP, F1-max and PRO of random maps at three sizes, the last against the usual.

    Args:
        pixels: of all maps of 1000 x 1000; 1 % are anomalous, in 20 regions a map.
        seed: of the maps.
        baseline: whether to run scikit-learn, too (minutes and 8 GB for 100 million pixels).

    Raises:
        ConfigError: fewer than four maps.
    """
    count = pixels // _SIDE**2
    if count < 4:
        raise ConfigError(f"pixels is {pixels}: expected at least {4 * _SIDE**2}, for three sizes")
    maps, masks = random_maps(count, seed)
    regions = _ROWS * _COLUMNS * count
    print(f"{maps.size:,} pixels, {masks.mean():.1%} anomalous in {regions:,} regions")
    print(f"{'pixels':>12} {'wall s':>8} {'CPU s':>8} {'ns/pixel':>9} {'MiB above the maps':>19}")
    ours = None
    for some in (count // 4, count // 2, count):
        ours = timed(lambda n=some: streaming(maps[:n], masks[:n]))
        size, peak = some * _SIDE**2, peak_bytes(lambda n=some: streaming(maps[:n], masks[:n]))
        print(
            f"{size:12,} {ours.wall:8.2f} {ours.cpu:8.2f} {ours.cpu / size * 1e9:9.1f} "
            f"{peak / 2**20:19.0f}",
            flush=True,
        )
    assert ours is not None
    if baseline:
        compare(ours, maps, masks)


def compare(
    ours: Seconds, maps: Float32[np.ndarray, "n h w"], masks: Bool[np.ndarray, "n h w"]
) -> None:
    """Runs the usual programs and prints seconds, differences and ratios."""
    print(f"\n{'usual program':32} {'wall s':>8} {'CPU s':>8} {'difference':>11}")
    wall = cpu = 0.0
    for name, metric, function in usual_programs(maps, masks):
        found = timed(function)
        wall, cpu = wall + found.wall, cpu + found.cpu
        difference = f"{abs(found.value - ours.value[metric]):.1e}"
        print(f"{name:32} {found.wall:8.2f} {found.cpu:8.2f} {difference:>11}", flush=True)
    print(f"{'all four':32} {wall:8.2f} {cpu:8.2f}")
    print(f"ours is {wall / ours.wall:.0f} times faster (wall), {cpu / ours.cpu:.0f} times (CPU)")


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
) -> Iterator[tuple[str, str, Callable[[], float]]]:
    """Name, metric and program.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn import metrics
    except ImportError as error:
        raise ConfigError("the baseline needs scikit-learn: pip install zsas_jax[test]") from error

    truth, scores = masks.reshape(-1), maps.reshape(-1)

    def f1_max() -> float:
        precision, recall, _ = metrics.precision_recall_curve(truth, scores)
        return float((2 * precision * recall / np.maximum(precision + recall, 1e-30)).max())

    yield "sklearn roc_auc_score", "pixel_auroc", lambda: metrics.roc_auc_score(truth, scores)
    yield (
        "sklearn average_precision_score",
        "pixel_ap",
        lambda: metrics.average_precision_score(truth, scores),
    )
    yield "sklearn precision_recall_curve", "pixel_f1_max", f1_max
    yield f"PRO of {_PRO_STEPS} thresholds", "pixel_pro", lambda: threshold_pro(maps, masks)


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


def timed(function: Callable[[], Any]) -> Seconds:
    """Runs once."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = function()
    return Seconds(value, time.perf_counter() - wall, time.process_time() - cpu)


def peak_bytes(function: Callable[[], Any]) -> int:
    """The most that was allocated at a time."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
