"""Confidence intervals of the metrics by a Poisson bootstrap over images, in one pass.

Each image enters each of `resamples` imaginary test sets a Poisson(1) number of times, which is how
often a draw with replacement takes it from a large set (Hanley and MacGibbon 2006). The numbers are
made of the seed and the image's name alone, so that order, hosts and restarts do not matter.

What is kept: per image its name's 64-bit key, score and label, for the image metrics, which are
exact; no pixels and no map. Of the pixels, one histogram per resample, with `_MANTISSA_BITS` of
mantissa: at most 3 counts x resamples x 1,024 bins per power of two that the scores span, that is
5 MB each at 200 resamples. Resampled pixel metrics are measured against the metric of all images on
the same coarse bins, and their differences are added to the exact metric.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt32

from zsas_jax.metrics import curves

_MANTISSA_BITS = 10
_SHIFT = 23 - _MANTISSA_BITS
_PAGE = 1 << _MANTISSA_BITS  # one power of two
_UNIT = 1 << 40  # 1 / area as an integer: sums are exact in any order
_PIXELS, _POSITIVES, _OVERLAPS = range(3)
_PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_pro")
_IMAGE_METRICS = ("image_auroc", "image_ap", "image_f1_max")


def image_key(name: str, *contents: np.ndarray) -> int:
    """64 bits that identify an image by its name or, failing that, by its arrays."""
    digest = hashlib.blake2b(name.encode(), digest_size=8)
    for content in contents:
        digest.update(np.ascontiguousarray(content).view(np.uint8).data)
    return int.from_bytes(digest.digest(), "little")


class Bootstrap:
    """Histograms of resampled test sets; resample 0 is the test set itself."""

    def __init__(self, resamples: int, seed: int):
        self._resamples, self._seed = resamples, seed
        # Power of two (and sign) -> counts [pixels / positives / overlaps, bins, resamples].
        self._pages: dict[int, np.ndarray] = {}
        self._regions = np.zeros(resamples + 1, np.int64)
        self._keys: list[int] = []

    def weights(self, key: int) -> Int[np.ndarray, " n"]:
        """How often an image is in each resample."""
        drawn = np.random.default_rng([self._seed, key]).poisson(1.0, self._resamples)
        return np.concatenate([[1], drawn])

    def add_pixels(
        self,
        key: int,
        keys: UInt32[np.ndarray, " n"],
        anomalous_keys: UInt32[np.ndarray, " p"],
        areas: Int[np.ndarray, " p"],
        regions: int,
    ) -> None:
        """Adds the pixels of one image; arguments as of `ScoreHistogram.add`."""
        weights = self.weights(key)
        self._regions += regions * weights
        bins = (keys >> np.uint32(_SHIFT)).astype(np.int64)
        first = int(bins.min())
        pixels = np.bincount(bins - first)
        self._add(_PIXELS, first, pixels, weights)
        if len(areas):
            bins = (anomalous_keys >> np.uint32(_SHIFT)).astype(np.int64) - first
            overlaps = np.zeros(len(pixels), np.int64)
            np.add.at(overlaps, bins, _UNIT // areas)
            self._add(_POSITIVES, first, np.bincount(bins, minlength=len(pixels)), weights)
            self._add(_OVERLAPS, first, overlaps, weights)

    def add_image(self, key: int) -> None:
        """Adds one scored image."""
        self._keys.append(key)

    def merge(self, other: "Bootstrap") -> None:
        """Adds everything that `other` has seen."""
        for page, counts in other._pages.items():
            self._page(page)[:] += counts
        self._regions += other._regions
        self._keys += other._keys

    def replicates(
        self, exact: dict[str, Any], scores: Sequence[float], labels: Sequence[int]
    ) -> dict[str, Float[np.ndarray, " resamples"]]:
        """Metrics of all resamples; NaN where a resample does not define one.

        Args:
            exact: the metrics of the whole set; only those that are not None are resampled.
            scores: of all images, in the order they were added.
            labels: of all images.
        """
        found = {
            name: np.full(self._resamples + 1, np.nan)
            for name in _PIXEL_METRICS + _IMAGE_METRICS
            if exact[name] is not None
        }
        for name, row, value in [*self._pixels(), *self._images(scores, labels)]:
            if name in found:
                found[name][row] = value
        return {
            name: np.clip(exact[name] + values[1:] - values[0], 0.0, 1.0)
            for name, values in found.items()
        }

    def state(self) -> dict[str, np.ndarray]:
        """Everything seen, for `set_state`."""
        pages = sorted(self._pages)
        counts = [self._pages[page] for page in pages]
        empty = np.zeros((0, 3, _PAGE, self._resamples + 1), np.int64)
        return {
            "pages": np.array(pages, np.int64),
            "counts": np.stack(counts) if counts else empty,
            "regions": self._regions,
            "keys": np.array(self._keys, np.uint64),
        }

    def set_state(self, state: Any) -> None:
        """Continues from `state()`."""
        pages, counts = np.asarray(state["pages"]).tolist(), np.array(state["counts"])
        self._pages = dict(zip(pages, counts, strict=True))
        self._regions = np.array(state["regions"])
        self._keys = np.asarray(state["keys"]).tolist()

    def _page(self, page: int) -> np.ndarray:
        if page not in self._pages:
            self._pages[page] = np.zeros((3, _PAGE, self._resamples + 1), np.int64)
        return self._pages[page]

    def _add(
        self,
        kind: int,
        first: int,
        counts: Int[np.ndarray, " n"],
        weights: Int[np.ndarray, " resamples"],
    ) -> None:
        used = np.flatnonzero(counts)
        pages, bins = np.divmod(used + first, _PAGE)
        for page in np.unique(pages):
            of_page = pages == page
            added = counts[used[of_page], None] * weights
            self._page(int(page))[kind, bins[of_page]] += added

    def _pixels(self) -> list[tuple[str, int, float]]:
        pages = sorted(self._pages)
        found = []
        for row in range(self._resamples + 1):
            counts = [self._pages[page][..., row] for page in pages]
            if not counts:
                break
            pixels, positives, overlaps = np.concatenate(counts, axis=1)
            negatives = pixels - positives
            found += _measured(_PIXEL_METRICS, row, positives, negatives)
            if negatives.any() and self._regions[row]:
                weights = overlaps / _UNIT
                pro = curves.pro(weights, negatives, int(self._regions[row]))
                found.append(("pixel_pro", row, pro))
        return found

    def _images(
        self, scores: Sequence[float], labels: Sequence[int]
    ) -> list[tuple[str, int, float]]:
        if not scores:
            return []
        distinct, index = np.unique(np.array(scores), return_inverse=True)
        weights = np.stack([self.weights(key) for key in self._keys], axis=1)
        found = []
        for row, weight in enumerate(weights):
            images = np.bincount(index, weight, len(distinct))
            positives = np.bincount(index, weight * np.array(labels), len(distinct))
            found += _measured(_IMAGE_METRICS, row, positives, images - positives)
        return found


def intervals(
    replicates: dict[str, Float[np.ndarray, " resamples"]], confidence: float = 0.95
) -> dict[str, list[float]]:
    """[low, high] percentiles of each metric's resamples, of those where it is defined."""
    tail = (1 - confidence) / 2
    return {
        name: np.nanquantile(values, [tail, 1 - tail]).tolist()
        for name, values in replicates.items()
        if np.isfinite(values).any()
    }


def mean_replicates(
    categories: Iterable[dict[str, Float[np.ndarray, " resamples"]]],
) -> dict[str, Float[np.ndarray, " resamples"]]:
    """Resamples of the mean over categories, for `intervals`.

    Like the mean itself, each is over the categories in which the metric is defined.
    """
    columns: dict[str, list[np.ndarray]] = {}
    for replicates in categories:
        for name, values in replicates.items():
            columns.setdefault(name, []).append(values)
    return {name: _mean_where_defined(np.stack(values)) for name, values in columns.items()}


def _mean_where_defined(
    values: Float[np.ndarray, "categories resamples"],
) -> Float[np.ndarray, " resamples"]:
    defined = np.isfinite(values)
    count = defined.sum(axis=0)
    total = np.where(defined, values, 0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _measured(
    names: Sequence[str], row: int, positives: np.ndarray, negatives: np.ndarray
) -> list[tuple[str, int, float]]:
    if not positives.any():
        return []
    found = [
        (names[1], row, curves.average_precision(positives, negatives)),
        (names[2], row, curves.f1_max(positives, negatives)[0]),
    ]
    if negatives.any():
        found.append((names[0], row, curves.auroc(positives, negatives)))
    return found
