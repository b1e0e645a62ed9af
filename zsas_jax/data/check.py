"""Checks of a data set on disk: its numbers, its masks, and that every file can be decoded."""

import collections
import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Iterable, Sequence

from tqdm import tqdm

from zsas_jax.data.description import GOOD, GOOD_FOLDERS, SPLITS, Dataset, Item, compare_counts
from zsas_jax.data.folder import PHOTO_SUFFIXES
from zsas_jax.data.images import MaskFile, decode_image, decode_mask
from zsas_jax.data.prepared import PreparedSource, find_prepared, read_index
from zsas_jax.data.sources import existing_directory
from zsas_jax.data.trees import find_root, find_roots, missing_photos, read_items, settled
from zsas_jax.errors import ImageError

_THREADS = 8
# Names whose highest number is beyond this many times their photos are dates or serial numbers.
_SPARSEST = 100


@dataclasses.dataclass(frozen=True)
class Report:
    """What a check found."""

    where: pathlib.Path
    items: tuple[Item, ...]
    """The photos that are there."""
    problems: dict[str, list[str]]
    """By kind, one phrase or file each; kinds without any are left out."""
    notes: tuple[str, ...] = ()
    """Worth knowing and no problem."""

    @property
    def complete(self) -> bool:
        """Whether all is as published."""
        return not self.problems

    def table(self) -> list[tuple[str, str, str, int]]:
        """Rows (category, split, defect, photos)."""
        counts = collections.Counter(
            (item.category, item.split, item.defect or GOOD) for item in self.items
        )
        order = {split: index for index, split in enumerate(SPLITS)}
        keys = sorted(counts, key=lambda key: (key[0], order[key[1]], key[2] != GOOD, key[2]))
        return [(*key, counts[key]) for key in keys]


def check(
    dataset: Dataset,
    data_dir: str | os.PathLike[str],
    decode: bool = True,
    progress: bool = False,
) -> Report:
    """Compares a tree, or prepared data, with what is published; changes nothing.

    `decode` reads every photo and mask in full, so that truncated files are found.

    Raises:
        DatasetError: no such data in the directory, or lists of photos that are malformed.
    """
    top = existing_directory(data_dir, f"{dataset.title} ({dataset.layout})")
    prepared = find_prepared(dataset, top)
    if prepared is not None and not find_roots(dataset, top):
        return _check_prepared(dataset, prepared, decode, progress)
    root = find_root(dataset, top)
    listed = read_items(dataset, root)
    absent = missing_photos(listed, root)
    items = [item for item in listed if item.image not in absent]
    lost = {
        item.mask for item in items if item.mask is not None and not (root / item.mask).is_file()
    }
    items = [item if item.mask in lost else settled(item, dataset, root) for item in items]
    problems = {
        "numbers": compare_counts(dataset, items),
        "missing photos": sorted(absent),
        "gaps in the numbering": _gaps(items) if dataset.numbered else [],
        "missing masks": sorted(mask for mask in lost if mask is not None),
        "masks without a photo": _strays(dataset, root, listed),
    }
    notes: tuple[str, ...] = ()
    if decode:
        pairs = [(item, root / item.image, _mask(dataset, root, item, lost)) for item in items]
        problems["unreadable files"], notes = _decoded(pairs, progress)
    return _report(root, items, problems, notes)


def _check_prepared(
    dataset: Dataset, directory: pathlib.Path, decode: bool, progress: bool
) -> Report:
    records, _ = read_index(dataset, directory)
    items = [item for stored in records.values() for item in stored]
    problems = {"numbers": compare_counts(dataset, items)}
    notes: tuple[str, ...] = ()
    if decode:
        sources = [PreparedSource(dataset, directory, split=split) for split in records]
        pairs = [
            (item, source, index) for source in sources for index, item in enumerate(source.items)
        ]
        problems["unreadable files"], notes = _decoded(pairs, progress)
    return _report(directory, items, problems, notes)


def _report(
    where: pathlib.Path,
    items: Sequence[Item],
    problems: dict[str, list[str]],
    notes: tuple[str, ...],
) -> Report:
    found = {kind: phrases for kind, phrases in problems.items() if phrases}
    return Report(where, tuple(items), found, notes)


def _mask(dataset: Dataset, root: pathlib.Path, item: Item, lost) -> MaskFile | None:
    if item.mask is None or item.mask in lost:
        return None
    return MaskFile(root / item.mask, dataset.mask_threshold)


def _decoded(pairs: Sequence[tuple], progress: bool) -> tuple[list[str], tuple[str, ...]]:
    """Sentences about unreadable files, and notes about empty masks."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS, "check") as executor:
        # In portions: a future for each photo of a large data set would fill the memory.
        results: list[tuple[str | None, bool]] = []
        with tqdm(total=len(pairs), unit="photo", disable=not progress) as bar:
            for start in range(0, len(pairs), 64 * _THREADS):
                for result in executor.map(_decode_pair, pairs[start : start + 64 * _THREADS]):
                    results.append(result)
                    bar.update()
    problems = [message for message, _ in results if message is not None]
    empty = [pair[0].image for pair, (_, flag) in zip(pairs, results, strict=True) if flag]
    if not empty:
        return problems, ()
    first = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
    return problems, (f"{len(empty)} photos of defects have an empty mask: {first}",)


def _decode_pair(pair: tuple) -> tuple[str | None, bool]:
    """What is wrong with a photo or its mask, and whether the mask is empty."""
    item, image, mask = pair
    try:
        if isinstance(image, PreparedSource):
            record = image[mask]
            image, mask = record["image"], record["mask"]
        called = None if isinstance(image, pathlib.Path) else item.image
        size = decode_image(image, called).shape[:2]
        if mask is None:
            return None, False
        truth = decode_mask(mask, name=None if called is None else f"mask of {item.image}")
    except ImageError as error:
        return str(error), False
    if truth.shape != size:
        return (
            f"the mask of {item.image} has {truth.shape[1]} x {truth.shape[0]} pixels: expected "
            f"the {size[1]} x {size[0]} of its photo",
            False,
        )
    return None, not truth.any()


def _strays(dataset: Dataset, root: pathlib.Path, items: Iterable[Item]) -> list[str]:
    """Mask files that belong to no photo: the photo is missing or has another name."""
    known = {item.mask for item in items} | {item.image for item in items}
    files = {
        path.relative_to(root).as_posix()
        for pattern in dataset.masks
        for path in root.glob(pattern)
        # Masks of good parts may be there too, all zero.
        if path.parent.name not in GOOD_FOLDERS
        and not path.name.startswith(".")
        and path.suffix.lower() in PHOTO_SUFFIXES
    }
    return sorted(files - known)


def _gaps(items: Iterable[Item]) -> list[str]:
    """Numbers that are missing between 0 and the last of a folder, where its names count photos."""
    folders: dict[str, dict[int, int]] = collections.defaultdict(dict)
    for item in items:
        folder, _, name = item.image.rpartition("/")
        stem = name.rpartition(".")[0]
        if stem.isdecimal():
            folders[folder][int(stem)] = len(stem)
    gaps = []
    for folder, numbers in sorted(folders.items()):
        if max(numbers) > _SPARSEST * len(numbers):
            continue
        width = min(numbers.values())
        absent = sorted(set(range(max(numbers))) - set(numbers))
        gaps += [f"{folder}/{number:0{width}d}" for number in absent]
    return gaps
