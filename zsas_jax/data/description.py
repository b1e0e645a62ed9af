"""What a published data set is: where its photos and masks lie, and how many there are."""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from zsas_jax.data.folder import PHOTO_SUFFIXES
from zsas_jax.data.images import MASK_THRESHOLD
from zsas_jax.data.phrases import words
from zsas_jax.errors import DatasetError

GOOD = "good"
GOOD_FOLDERS = (GOOD, "ok")
SPLITS = ("train", "test")


class Item(NamedTuple):
    """One photo of a tree; paths are relative to the tree's root, with forward slashes."""

    image: str
    category: str
    """The category's folder."""
    split: str = "test"
    """"train" or "test"."""
    defect: str | None = GOOD
    """Type of the defect, "good", or None: "good" where the mask is empty, else "defect"."""
    mask: str | None = None
    """Where the mask should be; None where nothing is anomalous."""


class Count(NamedTuple):
    """A published number of photos; None stands for all."""

    number: int
    split: str | None = None
    category: str | None = None
    anomalous: bool | None = None
    at_least: bool = False
    """Published as "over N"."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set that lies on disk as its authors published it."""

    name: str
    """For --dataset: lower case, digits and underscores."""
    title: str
    layout: str
    """The paths of photos and masks, for error messages."""
    folders: Callable[[pathlib.Path], Sequence[str]]
    """The category folders in a directory; none where it is not the root of such a tree."""
    read: Callable[[pathlib.Path], Iterable[Item]]
    """All photos below the root, of all splits."""
    masks: tuple[str, ...] = ()
    """Glob patterns of all mask files, by which `check` finds masks without a photo."""
    mask_threshold: int = MASK_THRESHOLD
    """Of 255: above it a mask's pixel is anomalous. 0 for masks with small numbers."""
    categories: tuple[str, ...] = ()
    """The published category folders; empty where there is no fixed list."""
    words: Callable[[str], str] = words
    """A category folder as prompts call it."""
    counts: tuple[Count, ...] = ()
    """The published numbers."""
    numbered: bool = False
    """The photos of each folder are numbered from 0 without gaps, so that a gap has a name."""
    archives: tuple[str, ...] = ()
    """File names or patterns of the published archives."""
    in_parts: bool = False
    """Every archive is a part of the tree, so that all are needed."""
    sha256: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Of archives, by file name."""
    citation: str = ""
    version: str = "1.0.0"
    """Of the prepared form."""

    def __post_init__(self):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise DatasetError(
                f"the data set's name {self.name!r} is not of lower-case letters, digits and "
                "underscores: expected a name like my_parts"
            )


def compare_counts(
    dataset: Dataset,
    items: Iterable[Item],
    split: str | None = None,
    folders: Sequence[str] | None = None,
) -> list[str]:
    """What differs from the published numbers, one phrase each.

    The items are those of one split (default all) and of the category folders (default all);
    published numbers of other photos are left out.
    """
    found = collections.Counter((item.split, item.category, item.defect != GOOD) for item in items)
    present = {category for _, category, _ in found}
    differing = []
    absent: set[str] = set()
    if folders is None and dataset.categories:
        strangers = sorted(present - set(dataset.categories))
        if strangers and len(strangers) == len(present):
            return [f"none of its categories is published ({', '.join(strangers[:5])})"]
        absent = set(dataset.categories) - present
        differing += [f"category {name!r} is missing" for name in sorted(absent)]
        differing += [f"category {name!r} is not published" for name in strangers]
    for count in dataset.counts:
        if (split is not None and count.split != split) or count.category in absent:
            continue
        if folders is not None and count.category not in folders:
            continue
        number = sum(
            found[key]
            for key in found
            if count.split in (None, key[0])
            and count.category in (None, key[1])
            and count.anomalous in (None, key[2])
        )
        if number < count.number or (number > count.number and not count.at_least):
            at_least = "at least " if count.at_least else ""
            differing.append(
                f"{_called(count)}: {number} photos, published {at_least}{count.number}"
            )
    return differing


def _called(count: Count) -> str:
    kind = {None: None, False: GOOD, True: "with defects"}[count.anomalous]
    return " ".join(part for part in (count.category, count.split, kind) if part) or "all"


def subfolders(directory: pathlib.Path) -> list[pathlib.Path]:
    """The folders in a directory by name; hidden ones are skipped, no directory has none."""
    try:
        return sorted(
            pathlib.Path(entry.path)
            for entry in os.scandir(directory)
            if not entry.name.startswith(".") and entry.is_dir()
        )
    except OSError:
        return []


def photos_in(directory: pathlib.Path, suffixes: Iterable[str] | None = None) -> list[str]:
    """File names of the photos in one directory by name; hidden files are skipped.

    `suffixes` are in lower case, by default those of all image formats; no directory has none.
    """
    wanted = PHOTO_SUFFIXES if suffixes is None else frozenset(suffixes)
    return sorted(
        name for name in file_names(directory) if os.path.splitext(name)[1].lower() in wanted
    )


def file_names(directory: pathlib.Path) -> list[str]:
    try:
        return [
            entry.name
            for entry in os.scandir(directory)
            if not entry.name.startswith(".") and entry.is_file()
        ]
    except OSError:
        return []
