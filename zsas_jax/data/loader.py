"""Batches for the device: photos decoded ahead by threads, grouped by canvas, in bounded memory.

Threads of our own instead of Grain's: Grain bounds its read-ahead by the number of elements, but
photos range from kilobytes to 600 MB once decoded, and one batch holds photos of one canvas only.
Here the headers say beforehand how large each photo will be, and read-ahead stops at a budget of
bytes. (The sources themselves are those of Grain: `grain.MapDataset.source(source)` works.)
"""

import collections
import concurrent.futures
import dataclasses
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8, UInt32

from zsas_jax.data.canvas import CANVASES, batch_size_for, canvas_for, image_key, make_batch
from zsas_jax.data.images import decode_image, image_size
from zsas_jax.data.sources import RandomAccess, Record
from zsas_jax.errors import ImageError, ZsasError

# Decoded photos that wait for the device; a single photo may need more.
MAX_BYTES = 2**30


class Failure(NamedTuple):
    """A photo that could not be read: its record's name, and one sentence."""

    name: str
    message: str


@dataclasses.dataclass(frozen=True)
class Batch:
    """Photos on canvases of one size; the valid ones come first.

    A last batch of no photos (every array of length 0) carries failures that no other could.
    """

    canvas: UInt8[np.ndarray, "b h w 3"]
    sizes: Int32[np.ndarray, "b 2"]
    """True (height, width), pixels; 1 x 1 for padding."""
    keys: UInt32[np.ndarray, " b"]
    """Random seeds, from the run's seed and the photo's pixels."""
    indices: Int32[np.ndarray, " b"]
    """Position in the source; padding repeats the first."""
    valid: Bool[np.ndarray, " b"]
    """False for padding."""
    records: tuple[Record, ...]
    """Of the valid photos, with None for the image."""
    failures: tuple[Failure, ...]
    """The photos skipped since the batch before."""


class _Photo(NamedTuple):
    index: int
    record: Record
    image: np.ndarray
    key: int


def iterate_batches(
    source: RandomAccess,
    indices: Iterable[int] | Int[np.ndarray, " n"] | None = None,
    batch_size: int = 8,
    seed: int = 0,
    threads: int | None = None,
    devices: int = 1,
    compiled: Iterable[int] = (),
) -> Iterator[Batch]:
    """Yields the photos of a source (default all) in batches of one canvas size each.

    Photos keep their order within a canvas size. The batch size is `batch_size` for each of
    `devices`, less on large canvases; a last, smaller group is padded (to a power of two, or to the
    full size where that program is compiled already: `compiled` names canvases of which it is
    from the start). A photo that cannot be read becomes a `Failure`.
    """
    groups: dict[int, list[_Photo]] = collections.defaultdict(list)
    full: set[int] = set(compiled)
    failures: list[Failure] = []

    def full_size(canvas: int) -> int:
        return devices * batch_size_for(canvas, batch_size)

    def flush(canvas: int) -> Batch:
        photos, size = groups.pop(canvas), full_size(canvas)
        if len(photos) == size:
            full.add(canvas)
        elif canvas not in full:
            size = min(size, 1 << (len(photos) - 1).bit_length())
            size = -(-size // devices) * devices
        batch = _assemble(photos, canvas, size, tuple(failures))
        failures.clear()
        return batch

    positions = range(len(source)) if indices is None else (int(index) for index in indices)
    for item in _decoded_ahead(source, iter(positions), seed, threads or _default_threads()):
        if isinstance(item, Failure):
            failures.append(item)
            continue
        canvas = canvas_for(*item.image.shape[:2])
        groups[canvas].append(item)
        if len(groups[canvas]) == full_size(canvas):
            yield flush(canvas)
        elif sum(photo.image.nbytes for group in groups.values() for photo in group) > MAX_BYTES:
            yield flush(max(groups, key=lambda side: side**2 * len(groups[side])))
    for canvas in sorted(groups):
        yield flush(canvas)
    if failures:
        yield _assemble([], CANVASES[0], 0, tuple(failures))


def _default_threads() -> int:
    return min(32, os.cpu_count() or 1)


def _assemble(photos, canvas: int, size: int, failures: tuple[Failure, ...]) -> Batch:
    batch, sizes, valid = make_batch([photo.image for photo in photos], size, canvas)
    keys = np.zeros(size, np.uint32)
    keys[: len(photos)] = [photo.key for photo in photos]
    indices = np.full(size, photos[0].index if photos else 0, np.int32)
    indices[: len(photos)] = [photo.index for photo in photos]
    records = tuple(photo.record for photo in photos)
    return Batch(batch, sizes, keys, indices, valid, records, failures)


class _Fetched(NamedTuple):
    """A record before its photo is decoded; the size is known from the header."""

    index: int
    record: Record
    bytes: int
    error: str = ""


def _decoded_ahead(
    source, positions: Iterator[int], seed: int, threads: int
) -> Iterator[_Photo | Failure]:
    """Decoded photos in order; those in flight stay below `MAX_BYTES`.

    Two queues: records whose headers are being read (sources may draw pictures there), and photos
    being decoded, which a record enters when there is room for it.
    """
    fetching: collections.deque[concurrent.futures.Future[_Fetched]] = collections.deque()
    decoding: collections.deque[tuple[int, concurrent.futures.Future]] = collections.deque()
    in_flight = 0
    executor = concurrent.futures.ThreadPoolExecutor(threads, "decode")
    try:
        while True:
            while len(fetching) < 2 * threads and (index := next(positions, None)) is not None:
                fetching.append(executor.submit(_fetch, source, index))
            while fetching and len(decoding) < 2 * threads:
                # Wait for a header only if there is nothing else to hand out.
                if decoding and not fetching[0].done():
                    break
                fetched = fetching[0].result()
                if decoding and in_flight + fetched.bytes > MAX_BYTES:
                    break
                fetching.popleft()
                in_flight += fetched.bytes
                decoding.append((fetched.bytes, executor.submit(_decode, fetched, seed)))
            if not decoding:
                return
            taken, future = decoding.popleft()
            yield future.result()
            in_flight -= taken
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _fetch(source, index: int) -> _Fetched:
    try:
        record = source[index]
    except (ZsasError, OSError) as error:
        name = f"photo {index}"
        return _Fetched(index, _unread(name), 0, f"{name} cannot be read: {error}")
    try:
        height, width = image_size(record["image"], _called(record))
    except ImageError as error:
        return _Fetched(index, record, 0, str(error))
    return _Fetched(index, record, 3 * height * width)


def _unread(name: str) -> Record:
    """Stands for a record that its source could not read."""
    return {
        "image": None,
        "mask": None,
        "name": name,
        "category": "",
        "defect": "unlabeled",
        "label": -1,
    }


def _decode(fetched: _Fetched, seed: int) -> _Photo | Failure:
    record = fetched.record
    if fetched.error:
        return Failure(record["name"], fetched.error)
    try:
        image = decode_image(record["image"], _called(record))
    except ImageError as error:
        return Failure(record["name"], str(error))
    return _Photo(fetched.index, {**record, "image": None}, image, image_key(seed, image))


def _called(record: Record) -> str | None:
    """What errors call a photo: its path, which they know themselves, or its name."""
    return None if isinstance(record["image"], str | os.PathLike) else record["name"]
