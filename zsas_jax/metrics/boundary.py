"""Boundary F1: how well the outlines of the predicted and the true masks agree.

A boundary pixel is a pixel of the mask with one of its four neighbours outside the mask (the frame
of the picture is no boundary). It is matched when a boundary pixel of the other mask is within a
tolerance (Euclidean, in pixels: a fraction of the diagonal, at least 1). Precision is the share of
predicted, recall that of true boundary pixels that are matched, over the pixels of all images.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage


class BoundaryF1:
    """Counts of boundary pixels and of matched ones, summed over images."""

    def __init__(self, threshold: float, tolerance: float):
        self._threshold, self._tolerance = threshold, tolerance
        # Matched and all, of the predictions and of the truth.
        self._counts = np.zeros(4, np.int64)

    def add(self, anomaly_map: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> None:
        """Adds one image; `anomaly_map >= threshold` is predicted."""
        predicted, true = boundary(anomaly_map >= self._threshold), boundary(mask)
        reach = max(1.0, self._tolerance * float(np.hypot(*mask.shape)))
        self._counts += [
            *_matched(predicted, true, reach),
            *_matched(true, predicted, reach),
        ]

    def merge(self, other: "BoundaryF1") -> None:
        """Adds everything that `other` has seen."""
        self._counts += other._counts

    def result(self) -> float | None:
        """F1 of precision and recall, 0 without a match; None without a true boundary."""
        matched, predicted, found, true = (int(count) for count in self._counts)
        if not true:
            return None
        precision, recall = matched / max(predicted, 1), found / true
        return 2 * precision * recall / (precision + recall) if matched else 0.0

    def state(self) -> dict[str, np.ndarray]:
        """Everything seen, for `set_state`."""
        return {"counts": self._counts}

    def set_state(self, state: Any) -> None:
        """Continues from `state()`."""
        self._counts = np.array(state["counts"])


def boundary(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels of the mask with a neighbour (up, down, left, right) outside it."""
    return mask & np.logical_not(ndimage.binary_erosion(mask, border_value=1))


def _matched(
    boundary: Bool[np.ndarray, "h w"], other: Bool[np.ndarray, "h w"], reach: float
) -> tuple[int, int]:
    """Pixels of `boundary` within `reach` of `other`, and all of them."""
    total = int(boundary.sum())
    if not (total and other.any()):
        return 0, total
    distance = ndimage.distance_transform_edt(~other)
    return int((np.asarray(distance)[boundary] <= reach).sum()), total
