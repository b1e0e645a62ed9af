"""SAA's region F1: how many predicted regions fit a true one, at the best of 200 thresholds.

A predicted region is a hit when, in the union of its box and some true region's box, intersection
over union of ALL predicted and true pixels there is at least 0.6. Precision is hits / predicted
regions, recall is hits / true regions; several predictions may hit the same region, so that recall
may exceed 1 (Cao et al. 2023, as released).
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from zsas_jax.metrics.regions import label_regions

OVERLAP = 0.6
THRESHOLDS = 200
_PAIRS = 1 << 18  # pairs of regions compared at once


class RegionF1:
    """Counts of hits and of predicted regions at fixed thresholds, summed over images."""

    def __init__(self, score_range: tuple[float, float]):
        low, high = score_range
        self.thresholds = high - np.arange(THRESHOLDS) * ((high - low) / THRESHOLDS)
        self._hits = np.zeros(THRESHOLDS, np.int64)
        self._predicted = np.zeros(THRESHOLDS, np.int64)
        self._true = 0

    def add(self, anomaly_map: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> None:
        """Adds one image; `anomaly_map > threshold` is predicted."""
        labels, count = label_regions(mask)
        true_boxes = _boxes(labels)
        self._true += count
        true_sums = _sums(mask)
        # Of each pixel, the first threshold (they descend) that it exceeds.
        level = THRESHOLDS - np.searchsorted(self.thresholds[::-1], anomaly_map, side="left")
        starts = np.unique(level)
        hits = predicted = 0
        for start, end in zip(starts, [*starts[1:], THRESHOLDS], strict=True):
            if start == THRESHOLDS:
                break
            prediction = level <= start
            boxes = _boxes(label_regions(prediction)[0])
            predicted = len(boxes)
            hits = _count_hits(boxes, true_boxes, prediction, mask, true_sums)
            self._hits[start:end] += hits
            self._predicted[start:end] += predicted

    def merge(self, other: "RegionF1") -> None:
        """Adds everything that `other` has seen."""
        self._hits += other._hits
        self._predicted += other._predicted
        self._true += other._true

    def result(self) -> tuple[float, float] | None:
        """The highest F1 and its threshold (the highest of several); None without true regions."""
        if not self._true:
            return None
        f1 = 2 * self._hits / (self._predicted + self._true)
        best = int(f1.argmax())
        return float(f1[best]), float(self.thresholds[best])

    def state(self) -> dict[str, np.ndarray]:
        """Everything seen, for `set_state`."""
        return {"hits": self._hits, "predicted": self._predicted, "true": np.array(self._true)}

    def set_state(self, state: Any) -> None:
        """Continues from `state()`."""
        self._hits, self._predicted = np.array(state["hits"]), np.array(state["predicted"])
        self._true = int(state["true"])


def _boxes(labels: Int[np.ndarray, "h w"]) -> Int[np.ndarray, "regions 4"]:
    """Top, left, bottom, right (exclusive)."""
    boxes = [
        (rows.start, columns.start, rows.stop, columns.stop)
        for rows, columns in ndimage.find_objects(labels)
    ]
    return np.array(boxes, np.int64).reshape(-1, 4)


def _sums(pixels: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "h+1 w+1"]:
    """Of each position, the pixels above and to the left of it."""
    return np.pad(pixels.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))


def _count_hits(
    boxes: Int[np.ndarray, "p 4"],
    true_boxes: Int[np.ndarray, "t 4"],
    prediction: Bool[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    true_sums: Int[np.ndarray, "h+1 w+1"],
) -> int:
    if not (len(boxes) and len(true_boxes)):
        return 0
    predicted_sums, common_sums = _sums(prediction), _sums(prediction & mask)
    hits, rows = 0, max(1, _PAIRS // len(true_boxes))
    for start in range(0, len(boxes), rows):
        some = boxes[start : start + rows, None]
        top, left = np.moveaxis(np.minimum(some[..., :2], true_boxes[:, :2]), -1, 0)
        bottom, right = np.moveaxis(np.maximum(some[..., 2:], true_boxes[:, 2:]), -1, 0)
        common, predicted, true = (
            sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
            for sums in (common_sums, predicted_sums, true_sums)
        )
        hits += int((common / (predicted + true - common) >= OVERLAP).any(1).sum())
    return hits
