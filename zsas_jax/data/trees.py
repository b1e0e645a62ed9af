"""The trees of published data sets: finding one, reading it, and the source over it."""

import logging
import os
import pathlib
from collections.abc import Iterable, Sequence

from zsas_jax.data.archives import find_archives
from zsas_jax.data.description import (
    GOOD,
    Dataset,
    Item,
    compare_counts,
    file_names,
    subfolders,
)
from zsas_jax.data.images import MASK_THRESHOLD, MaskFile, decode_mask
from zsas_jax.data.sources import Record, check_names, existing_directory, select_categories
from zsas_jax.errors import DatasetError, ImageError

_DEPTH = 2  # folders between the directory given and the tree, as archives unpack

logger = logging.getLogger(__name__)


class PublishedSource:
    """What the source over a tree and that over prepared data share.

    Attributes:
        dataset: the data set's description.
        items: the photos, in order.
        folders: their categories' folders, in order.
    """

    has_masks = True
    dataset: Dataset
    items: list[Item]
    folders: list[str]

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories in words, in order."""
        return tuple(self.dataset.words(folder) for folder in self.folders)

    def __len__(self) -> int:
        return len(self.items)

    def record(
        self, item: Item, image: str | bytes, mask: str | bytes | None, mask_threshold: int
    ) -> Record:
        """The record of a photo, whose picture and mask are paths or encoded bytes."""
        return {
            "image": image,
            "mask": mask
            if mask is None or mask_threshold == MASK_THRESHOLD
            else MaskFile(mask, mask_threshold),
            "name": item.image,
            "category": self.dataset.words(item.category),
            "defect": item.defect or GOOD,
            "label": int(item.defect != GOOD),
        }


class TreeSource(PublishedSource):
    """The photos of one split, in the categories asked for (folders or words), default all.

    `directory` is the tree's root, or lies at most two folders above it. `shortfalls` says what
    differs from the published numbers.

    Raises:
        DatasetError: another layout, an unknown category, no photos, or a photo with a defect
            whose mask is missing.
    """

    def __init__(
        self,
        dataset: Dataset,
        directory: str | os.PathLike[str],
        categories: Sequence[str] | None = None,
        split: str = "test",
    ):
        self.dataset = dataset
        self.root = find_root(dataset, directory)
        items = read_items(dataset, self.root)
        chosen = choose_folders(dataset, items, categories, self.root)
        self.items = usable_items(dataset, self.root, items, split, chosen)
        present = {item.category for item in self.items}
        self.folders = [folder for folder in chosen if folder in present]
        self.shortfalls = compare_counts(
            dataset, self.items, split, None if categories is None else chosen
        )

    def __getitem__(self, index: int) -> Record:
        item = self.items[index]
        mask = item.mask and str(self.root / item.mask)
        return self.record(item, str(self.root / item.image), mask, self.dataset.mask_threshold)


def warn_of(dataset: Dataset, where: pathlib.Path, shortfalls: Sequence[str]) -> None:
    """Logs in one line that a data set is not complete."""
    if shortfalls:
        more = f" and {len(shortfalls) - 3} more" if len(shortfalls) > 3 else ""
        logger.warning(
            "%s in %s is not as published: %s%s",
            dataset.title,
            where,
            "; ".join(shortfalls[:3]),
            more,
        )


def read_items(dataset: Dataset, root: pathlib.Path) -> list[Item]:
    """All photos of a tree by category and name, those that only a list names included.

    Raises:
        DatasetError: a list of photos that is missing or malformed, no photos at all, or a name
            that is not UTF-8.
    """
    items = sorted(dataset.read(root), key=lambda item: (item.category, item.image))
    if not items:
        raise DatasetError(f"{root} holds no photos of {dataset.title}: expected {dataset.layout}")
    check_names((item.image for item in items), root)
    return items


def usable_items(
    dataset: Dataset,
    root: pathlib.Path,
    items: Iterable[Item],
    split: str,
    folders: Sequence[str],
) -> list[Item]:
    """The photos of one split and of these category folders that are there, with their defects.

    Raises:
        DatasetError: none, or a photo with a defect whose mask is missing.
    """
    wanted = [item for item in items if item.split == split and item.category in folders]
    missing = missing_photos(wanted, root)
    usable = []
    for item in wanted:
        if item.image in missing:
            continue
        if item.mask is not None and not (root / item.mask).is_file():
            raise DatasetError(
                f"{root / item.mask} does not exist: expected the mask of {item.image}"
            )
        usable.append(settled(item, dataset, root))
    if not usable:
        raise DatasetError(
            f"{root} holds no {split} photos of {dataset.title}: expected {dataset.layout}"
        )
    return usable


def choose_folders(
    dataset: Dataset, items: Iterable[Item], categories: Sequence[str] | None, where
) -> list[str]:
    """The category folders asked for, in order.

    Raises:
        DatasetError: a category the tree does not have, with the nearest one.
    """
    available = sorted({item.category for item in items})
    return select_categories(available, categories, f"{dataset.title} in {where}", dataset.words)


def missing_photos(items: Iterable[Item], root: pathlib.Path) -> set[str]:
    """The photos that a list names and the tree lacks."""
    listed: dict[str, set[str]] = {}
    missing = set()
    for item in items:
        folder, _, name = item.image.rpartition("/")
        if folder not in listed:
            listed[folder] = set(file_names(root / folder))
        if name not in listed[folder]:
            missing.add(item.image)
    return missing


def settled(item: Item, dataset: Dataset, root: pathlib.Path) -> Item:
    """The item with its defect decided by its mask, where it has to be.

    A mask that cannot be read counts as one of a defect: whoever reads it reports it.
    """
    if item.defect is not None:
        return item
    path = root / item.mask if item.mask is not None else None
    try:
        good = path is None or not decode_mask(path, dataset.mask_threshold).any()
    except ImageError:
        good = False
    return item._replace(defect=GOOD, mask=None) if good else item._replace(defect="defect")


def find_root(dataset: Dataset, directory: str | os.PathLike[str]) -> pathlib.Path:
    """The root of a tree in a directory or at most two folders below it.

    Of several trees the one with the most published categories is taken.

    Raises:
        DatasetError: none, with a hint where the directory lies inside a tree or holds an archive
            only; or several that are as good.
    """
    top = existing_directory(directory, f"{dataset.title} ({dataset.layout})")
    roots = find_roots(dataset, top)
    if not roots:
        raise DatasetError(_not_found(dataset, top))
    if len(roots) > 1:
        raise DatasetError(
            f"{top} holds {dataset.title} more than once, in "
            f"{', '.join(path.relative_to(top).as_posix() for path in roots)}: expected the one to "
            "read as the data directory"
        )
    return roots[0]


def find_roots(dataset: Dataset, top: pathlib.Path) -> list[pathlib.Path]:
    """The best roots of a tree in a directory or at most two folders below it.

    Those with the most published categories, and of these the ones that lie highest.
    """
    found: list[tuple[tuple[int, int], pathlib.Path]] = []
    level = [top]
    for depth in range(_DEPTH + 1):
        for path in level:
            if folders := dataset.folders(path):
                known = len(set(folders) & set(dataset.categories))
                if depth == 0 and (known or not dataset.categories):
                    return [path]
                found.append(((-known, depth), path))
        level = [below for path in level for below in subfolders(path)]
    return [path for rank, path in found if rank == min(found)[0]]


def _not_found(dataset: Dataset, top: pathlib.Path) -> str:
    for parent in list(top.resolve().parents)[:_DEPTH]:
        if dataset.folders(parent):
            inside = top.resolve().relative_to(parent)
            return (
                f"{top} is not {dataset.title} as published but a part of it, {inside.as_posix()}: "
                f"expected the directory above it, {parent} (select a category by its name)"
            )
    message = f"{top} is not {dataset.title} as published: expected {dataset.layout} in it"
    if archives := find_archives(dataset, top):
        message += (
            f", and found its archive {archives[0].name}: unpack it, or run python -m "
            f"zsas_jax.data prepare {dataset.name} --data-dir {top}"
        )
    return message
