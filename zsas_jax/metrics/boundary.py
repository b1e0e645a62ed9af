"""Boundary F1: how well the outlines of the predicted and the true masks agree.

A boundary pixel is a pixel of the mask with one of its four neighbours outside the mask (the frame
of the picture is no boundary). It is matched when a boundary pixel of the other mask is within a
tolerance (Euclidean, in pixels: a fraction of the diagonal, at least 1). Precision is the share of
predicted, recall that of true boundary pixels that are matched, over the pixels of all images. Of
several thresholds, the best for all images together counts (ODS of Arbelaez et al., TPAMI 2011).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage


class BoundaryF1:
    """Counts of boundary pixels and of matched ones at every threshold, summed over images."""

    def __init__(self, thresholds: Sequence[float], tolerance: float):
        self._thresholds, self._tolerance = thresholds, tolerance
        # Matched and all, of the predictions and of the truth.
        self._counts = np.zeros((len(thresholds), 4), np.int64)

    def add(self, anomaly_map: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> None:
        """Adds one image; `anomaly_map >= threshold` is predicted."""
        reach = max(1.0, self._tolerance * float(np.hypot(*mask.shape)))
        true = boundary(mask)
        near_true, total = _near(true, reach), true.sum()
        around = _window(true, int(reach))
        for counts, threshold in zip(self._counts, self._thresholds, strict=True):
            predicted = boundary(anomaly_map >= threshold)
            found = true[around] & _near(predicted[around], reach)
            counts += [(predicted & near_true).sum(), predicted.sum(), found.sum(), total]

    def merge(self, other: "BoundaryF1") -> None:
        """Adds everything that `other` has seen."""
        self._counts += other._counts

    def result(self) -> float | None:
        """F1 of precision and recall at the best threshold, 0 without a match; None without a true
        boundary.
        """
        matched, predicted, found, true = self._counts.T
        if not true.any():
            return None
        precision, recall = matched / np.maximum(predicted, 1), found / true
        return float((2 * precision * recall / np.maximum(precision + recall, 1e-30)).max())

    def state(self) -> dict[str, np.ndarray]:
        """Everything seen, for `set_state`."""
        return {"counts": self._counts}

    def set_state(self, state: Any) -> None:
        """Continues from `state()`."""
        self._counts = np.array(state["counts"])


def boundary(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels of the mask with a neighbour (up, down, left, right) outside it."""
    inside = mask.copy()
    inside[1:] &= mask[:-1]
    inside[:-1] &= mask[1:]
    inside[:, 1:] &= mask[:, :-1]
    inside[:, :-1] &= mask[:, 1:]
    return mask & ~inside


def _window(boundary: Bool[np.ndarray, "h w"], reach: int) -> tuple[slice, slice]:
    """Rows and columns in which everything within `reach` of the boundary lies."""

    def ends(axis: int) -> slice:
        places = np.flatnonzero(boundary.any(axis))
        if not len(places):
            return slice(0)
        return slice(max(int(places[0]) - reach, 0), int(places[-1]) + reach + 1)

    return ends(1), ends(0)


def _near(boundary: Bool[np.ndarray, "h w"], reach: float) -> Bool[np.ndarray, "h w"]:
    """Pixels within `reach` of the boundary."""
    if not boundary.any():
        return boundary
    return np.asarray(ndimage.distance_transform_edt(~boundary)) <= reach
