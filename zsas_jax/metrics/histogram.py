"""A histogram of float32 scores by their bit pattern, in bounded memory.

Bins are sign, exponent and the leading mantissa bits of a score, so their width is relative to the
value and no scale of the scores loses resolution. Up to `EXACT_PIXELS` scores the whole pattern
counts, beyond that `MANTISSA_BITS`: then a bin is 4e-6 of its value wide.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Num, UInt32

EXACT_PIXELS = 1 << 22
MANTISSA_BITS = 18
_SHIFT = 23 - MANTISSA_BITS
_PAGE_BITS = 12  # bins are stored in pages of 4,096, allocated when a score falls into one
_PAGE = 1 << _PAGE_BITS
_PAGES = 1 << (32 - _SHIFT - _PAGE_BITS)
_SIGN = np.uint32(0x80000000)
_HISTOGRAMS = ("pixels", "positives", "overlaps")
_PENDING = ("keys", "anomalous_keys", "weights")


def float_keys(values: Float[np.ndarray, "*shape"]) -> UInt32[np.ndarray, "*shape"]:
    """float32 bit patterns made to sort as the numbers do; -0.0 counts as 0.0."""
    bits = (values.astype(np.float32, copy=False) + np.float32(0)).view(np.uint32)
    # Negative numbers sort backwards by their bits: all of theirs are flipped, else the sign.
    flips = (np.uint32(0) - (bits >> np.uint32(31))) | _SIGN
    return bits ^ flips


def key_floats(keys: UInt32[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """The inverse of `float_keys`."""
    return (keys ^ np.where(keys & _SIGN, _SIGN, np.uint32(0xFFFFFFFF))).view(np.float32)


class Bins(NamedTuple):
    """Occupied bins in ascending order of the score."""

    scores: Float32[np.ndarray, " n"]  # the lowest score of the bin
    positives: Int[np.ndarray, " n"]  # anomalous pixels
    negatives: Int[np.ndarray, " n"]  # normal pixels
    overlaps: Float[np.ndarray, " n"]  # sum of the anomalous pixels' weights


class ScoreHistogram:
    """Counts of all and of anomalous scores; what it holds does not depend on the order."""

    def __init__(self):
        # Scores wait here whole; they are binned when they are many.
        self._pending: dict[str, list[np.ndarray]] = {name: [] for name in _PENDING}
        self._waiting = 0
        self._slots = np.full(_PAGES, -1, np.int64)  # page -> its place in the histograms
        self._counts: dict[str, Num[np.ndarray, " bins"]] = {
            "pixels": np.zeros(0, np.int64),
            "positives": np.zeros(0, np.int64),
            "overlaps": np.zeros(0, np.float64),
        }

    def add(
        self,
        keys: UInt32[np.ndarray, " n"],
        anomalous_keys: UInt32[np.ndarray, " p"],
        weights: Float[np.ndarray, " p"],
    ) -> None:
        """Counts `keys` (all pixels) and, among them, the anomalous ones with their weights."""
        for name, values in zip(_PENDING, (keys, anomalous_keys, weights), strict=True):
            self._pending[name].append(values)
        self._waiting += keys.size
        if self._waiting > EXACT_PIXELS:
            self._bin_pending()

    def merge(self, other: "ScoreHistogram") -> None:
        """Adds everything that `other` holds."""
        pages = np.flatnonzero(other._slots >= 0)
        self._make_pages(pages)
        for name, counts in self._counts.items():
            added = other._counts[name].reshape(-1, _PAGE)[other._slots[pages]]
            counts.reshape(-1, _PAGE)[self._slots[pages]] += added
        for arrays in zip(*other._pending.values(), strict=True):
            self.add(*arrays)

    def bins(self) -> Bins:
        """All occupied bins."""
        pages = np.flatnonzero(self._slots >= 0)
        if not pages.size:
            return self._exact_bins()
        self._bin_pending()
        pages = np.flatnonzero(self._slots >= 0)
        pixels, positives, overlaps = (
            counts.reshape(-1, _PAGE)[self._slots[pages]].ravel()
            for counts in self._counts.values()
        )
        used = np.flatnonzero(pixels)
        keys = (pages[:, None] * _PAGE + np.arange(_PAGE)).ravel()[used] << _SHIFT
        positives = positives[used]
        scores = key_floats(keys.astype(np.uint32))
        return Bins(scores, positives, pixels[used] - positives, overlaps[used])

    def state(self) -> dict[str, np.ndarray]:
        """What it holds as arrays, for `from_state`."""
        pages = np.flatnonzero(self._slots >= 0)
        state = {
            name: counts.reshape(-1, _PAGE)[self._slots[pages]]
            for name, counts in self._counts.items()
        }
        for name, kind in zip(_PENDING, (np.uint32, np.uint32, np.float64), strict=True):
            state[name] = np.concatenate([np.zeros(0, kind), *self._pending[name]])
        return state | {"pages": pages, "mantissa_bits": np.array(MANTISSA_BITS)}

    @classmethod
    def from_state(cls, state: Any) -> "ScoreHistogram":
        """Continues from `state()`."""
        histogram = cls()
        histogram._make_pages(np.asarray(state["pages"]))
        for name in _HISTOGRAMS:
            histogram._counts[name] = np.array(state[name]).ravel()
        histogram.add(*(np.asarray(state[name]) for name in _PENDING))
        return histogram

    def _exact_bins(self) -> Bins:
        pending = self.state()
        keys, pixels = np.unique(pending["keys"], return_counts=True)
        index = np.searchsorted(keys, pending["anomalous_keys"])
        positives = np.bincount(index, minlength=len(keys))
        overlaps = np.bincount(index, pending["weights"], minlength=len(keys))
        return Bins(key_floats(keys), positives, pixels - positives, overlaps.astype(np.float64))

    def _bin_pending(self) -> None:
        for keys, anomalous_keys, weights in zip(*self._pending.values(), strict=True):
            index = self._index(keys)
            np.add.at(self._counts["pixels"], index, 1)
            # Every anomalous pixel is among all pixels: this makes no new pages.
            index = self._index(anomalous_keys)
            np.add.at(self._counts["positives"], index, 1)
            np.add.at(self._counts["overlaps"], index, weights)
        self._pending = {name: [] for name in _PENDING}
        self._waiting = 0

    def _index(self, keys: UInt32[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        bins = keys >> np.uint32(_SHIFT)
        pages = bins >> np.uint32(_PAGE_BITS)
        self._make_pages(np.flatnonzero(np.bincount(pages, minlength=_PAGES)))
        index = self._slots[pages]
        index *= _PAGE
        index += bins & np.uint32(_PAGE - 1)
        return index

    def _make_pages(self, pages: Int[np.ndarray, " n"]) -> None:
        new = pages[self._slots[pages] < 0]
        if new.size:
            used = len(self._counts["pixels"]) // _PAGE
            self._slots[new] = np.arange(used, used + new.size)
            for name, old in self._counts.items():
                self._counts[name] = np.concatenate([old, np.zeros(new.size * _PAGE, old.dtype)])
