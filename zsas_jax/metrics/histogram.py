"""A histogram of float32 scores by their bit pattern, in bounded memory.

Bins are sign, exponent and the leading mantissa bits of a score, so their width is relative to the
value. Scores begin with all 23 mantissa bits; when they spread over too many bins, neighbours are
joined, down to `MIN_MANTISSA_BITS`. Maps squeezed into a narrow range therefore keep every bit, and
what is held never depends on the order of the images or on how they were split over hosts.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, UInt32

MIN_MANTISSA_BITS = 14
_MAX_SHIFT = 23 - MIN_MANTISSA_BITS
_PAGE_BITS = 12  # bins are stored in pages of 4,096, allocated when a score falls into one
_PAGE = 1 << _PAGE_BITS
_BLOCK = 1 << 17  # pixels binned at once, so that temporary arrays stay in the cache
_SIGN = np.uint32(0x80000000)
_WAITING = {"keys": np.uint32, "anomalous_keys": np.uint32, "areas": np.int64}
# 1 / area as an integer of 60 bits in two halves: sums of them are exact in any order.
_HALF = 30
_UNIT = 1 << (2 * _HALF)
_PIXELS, _POSITIVES, _HIGH, _LOW = range(4)


class Limits(NamedTuple):
    """What a histogram may hold."""

    exact_pixels: int  # up to so many, scores are not binned at all
    pages: int  # beyond, bins are joined; 128 KiB each


FULL = Limits(1 << 20, 256)
SMALL = Limits(1 << 17, 32)


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
    overlaps: Float[np.ndarray, " n"]  # sum over anomalous pixels of 1 / area of their region


class _Packed(NamedTuple):
    """Occupied bins in the fewest bytes."""

    keys: UInt32[np.ndarray, " n"]
    pixels: Int[np.ndarray, " n"]
    positive: UInt32[np.ndarray, " p"]  # places of the bins with anomalous pixels
    positives: Int[np.ndarray, "3 p"]  # rows `_POSITIVES` to `_LOW`

    def counts(self) -> Int[np.ndarray, "4 n"]:
        counts = np.zeros((4, len(self.pixels)), np.int64)
        counts[_PIXELS] = self.pixels
        counts[_POSITIVES:, self.positive] = self.positives
        return counts


class ScoreHistogram:
    """Counts of all and of anomalous scores; what it holds does not depend on the order."""

    def __init__(self, limits: Limits = FULL):
        self.limits = limits
        # Scores wait here whole; they are binned when they are many.
        self._waiting: dict[str, list[np.ndarray]] = {name: [] for name in _WAITING}
        self._waiting_pixels = 0
        self._packed: _Packed | None = None
        self._clear(shift=0)

    @property
    def mantissa_bits(self) -> int:
        """Of the bins at present."""
        return 23 - self._shift

    def add(
        self,
        keys: UInt32[np.ndarray, " n"],
        anomalous_keys: UInt32[np.ndarray, " p"],
        areas: Int[np.ndarray, " p"],
    ) -> None:
        """Counts `keys` (all pixels) and, among them, the anomalous ones with their region's area.

        The arrays are kept: they must not change afterwards.
        """
        for name, values in zip(_WAITING, (keys, anomalous_keys, areas), strict=True):
            self._waiting[name].append(values)
        self._waiting_pixels += keys.size
        if self._waiting_pixels > self.limits.exact_pixels:
            self._bin_waiting()

    def merge(self, other: "ScoreHistogram") -> None:
        """Adds everything that `other` holds."""
        self._add_occupied(other._shift, *other._occupied())
        for arrays in zip(*other._waiting.values(), strict=True):
            self.add(*arrays)

    def bins(self) -> Bins:
        """All occupied bins."""
        if len(self._pages) or self._packed is not None:
            self._bin_waiting()
            keys, counts = self._occupied()
        else:
            keys, counts = self._exact()
        overlaps = np.ldexp(counts[_HIGH].astype(np.float64), -_HALF)
        overlaps += np.ldexp(counts[_LOW].astype(np.float64), -2 * _HALF)
        pixels, positives = counts[_PIXELS], counts[_POSITIVES]
        return Bins(key_floats(keys), positives, pixels - positives, overlaps)

    def state(self) -> dict[str, np.ndarray]:
        """What it holds as arrays, for `from_state`."""
        waiting = {
            f"waiting_{name}": np.concatenate([np.zeros(0, kind), *self._waiting[name]])
            for name, kind in _WAITING.items()
        }
        packed = self._packed or self._pack()
        return {
            **waiting,
            **packed._asdict(),
            "limits": np.array(self.limits),
            "shift": np.array(self._shift),
        }

    def compact(self) -> None:
        """Gives back the memory of empty bins; the next scores that are binned take it again."""
        if len(self._pages):
            self._packed = self._pack()
            self._clear(self._shift)

    @classmethod
    def from_state(cls, state: Any) -> "ScoreHistogram":
        """Continues from `state()`."""
        histogram = cls(Limits(*(int(value) for value in state["limits"])))
        packed = _Packed(*(np.asarray(state[name]) for name in _Packed._fields))
        histogram._add_occupied(int(state["shift"]), packed.keys, packed.counts())
        histogram.add(*(np.asarray(state[f"waiting_{name}"]) for name in _WAITING))
        return histogram

    def _clear(self, shift: int) -> None:
        self._shift = shift
        self._pages = np.zeros(0, np.int64)  # in the order of their slots
        # Page -> slot; slot 0 is for pages that do not exist and stays empty.
        self._slots = np.zeros(1 << (32 - shift - _PAGE_BITS), np.int32)
        self._counts = np.zeros((4, 1, _PAGE), np.int64)

    def _exact(self) -> tuple[UInt32[np.ndarray, " n"], Int[np.ndarray, "4 n"]]:
        arrays = [np.concatenate([np.zeros(0, _WAITING[n]), *a]) for n, a in self._waiting.items()]
        keys, pixels = np.unique(arrays[0], return_counts=True)
        counts = np.zeros((4, len(keys)), np.int64)
        counts[_PIXELS] = pixels
        _count_anomalous(counts, np.searchsorted(keys, arrays[1]), arrays[2])
        return keys, counts

    def _bin_waiting(self) -> None:
        if not self._waiting_pixels:
            return
        self._unpack()
        for keys, anomalous_keys, areas in zip(*self._waiting.values(), strict=True):
            for start in range(0, keys.size, _BLOCK):
                index = self._index(keys[start : start + _BLOCK])
                np.add.at(self._counts[_PIXELS].reshape(-1), index, 1)
            # Every anomalous pixel is among all pixels: this makes no new pages.
            index = self._index(anomalous_keys)
            _count_anomalous(self._counts.reshape(4, -1), index, areas)
        self._waiting = {name: [] for name in _WAITING}
        self._waiting_pixels = 0

    def _occupied(self) -> tuple[UInt32[np.ndarray, " n"], Int[np.ndarray, "4 n"]]:
        """The lowest key and the counts of each bin that holds something, ascending."""
        if self._packed is not None:
            return self._packed.keys, self._packed.counts()
        order = np.argsort(self._pages)
        counts = self._counts[:, 1 + order].reshape(4, -1)
        used = np.flatnonzero(counts[_PIXELS])
        bins = (self._pages[order, None] * _PAGE + np.arange(_PAGE)).ravel()[used]
        return (bins << self._shift).astype(np.uint32), counts[:, used]

    def _pack(self) -> _Packed:
        keys, counts = self._occupied()
        pixels = counts[_PIXELS]
        positive = np.flatnonzero(counts[_POSITIVES])
        return _Packed(
            keys,
            pixels.astype(np.min_scalar_type(pixels.max(initial=0))),
            positive.astype(np.uint32),
            counts[_POSITIVES:, positive],
        )

    def _unpack(self) -> None:
        packed, self._packed = self._packed, None
        if packed is not None:
            self._add_occupied(self._shift, packed.keys, packed.counts())

    def _add_occupied(
        self, shift: int, keys: UInt32[np.ndarray, " n"], counts: Int[np.ndarray, "4 n"]
    ) -> None:
        self._unpack()
        self._coarsen(shift)
        index = self._index(keys)
        for row, added in zip(self._counts.reshape(4, -1), counts, strict=True):
            np.add.at(row, index, added)

    def _index(self, keys: UInt32[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Places of scores in the flat counts, which may be made anew here."""
        bins = (keys >> np.uint32(self._shift)).astype(np.int64)
        pages = bins >> _PAGE_BITS
        slots = self._slots[pages]
        if not slots.all():
            self._make_pages(np.unique(pages[slots == 0]))
            return self._index(keys)
        bins &= _PAGE - 1
        bins += slots.astype(np.int64) << _PAGE_BITS
        return bins

    def _make_pages(self, pages: Int[np.ndarray, " n"]) -> None:
        shift, wanted = self._shift, np.union1d(self._pages, pages)
        while len(wanted) > self.limits.pages and shift < _MAX_SHIFT:
            shift, wanted = shift + 1, np.unique(wanted >> 1)
        self._coarsen(shift)
        new = np.setdiff1d(wanted, self._pages)
        used = 1 + len(self._pages)
        self._slots[new] = np.arange(used, used + len(new))
        self._pages = np.concatenate([self._pages, new])
        missing = used + len(new) - self._counts.shape[1]
        if missing > 0:
            room = np.zeros((4, max(missing, used // 4), _PAGE), np.int64)
            self._counts = np.concatenate([self._counts, room], axis=1)

    def _coarsen(self, shift: int) -> None:
        """Joins neighbouring bins until the lowest `shift` bits are left out."""
        while self._shift < shift:
            pages, counts = self._pages, self._counts[:, 1 : 1 + len(self._pages)]
            self._clear(self._shift + 1)
            self._pages, slots = np.unique(pages >> 1, return_inverse=True)
            self._slots[self._pages] = np.arange(1, 1 + len(self._pages))
            halves = np.zeros((4, 1 + len(self._pages), 2, _PAGE // 2), np.int64)
            halves[:, 1 + slots, pages & 1] = counts[..., ::2] + counts[..., 1::2]
            self._counts = halves.reshape(4, -1, _PAGE)


def _count_anomalous(
    counts: Int[np.ndarray, "4 bins"], index: Int[np.ndarray, " p"], areas: Int[np.ndarray, " p"]
) -> None:
    weights = _UNIT // areas
    np.add.at(counts[_POSITIVES], index, 1)
    np.add.at(counts[_HIGH], index, weights >> _HALF)
    np.add.at(counts[_LOW], index, weights & ((1 << _HALF) - 1))
