"""Data sets prepared by TFDS: writing them from a tree, finding them, and the source over them."""

import contextlib
import json
import logging
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import tensorflow_datasets as tfds

from zsas_jax.data import archives
from zsas_jax.data.builders import BUILDERS, builder_class
from zsas_jax.data.description import SPLITS, Dataset, Item, compare_counts
from zsas_jax.data.sources import Record, existing_directory
from zsas_jax.data.trees import (
    PublishedSource,
    choose_folders,
    find_root,
    find_roots,
    read_items,
    usable_items,
    warn_of,
)
from zsas_jax.errors import DatasetError

FOLDER = "prepared"

logger = logging.getLogger(__name__)


class PreparedSource(PublishedSource):
    """The records of one split of prepared data, equal to those of the tree they come from.

    `directory` is that of the version; the other arguments, `shortfalls` and the errors are as in
    `TreeSource`. Photos and masks are the bytes of the published files.
    """

    def __init__(
        self,
        dataset: Dataset,
        directory: str | os.PathLike[str],
        categories: Sequence[str] | None = None,
        split: str = "test",
    ):
        self.dataset = dataset
        self.root = pathlib.Path(directory)
        records, self._mask_threshold = read_index(dataset, self.root)
        if split not in records:
            raise DatasetError(
                f"{self.root} holds no {split} photos of {dataset.title}: expected one of the "
                f"splits {', '.join(records)}"
            )
        chosen = choose_folders(dataset, records[split], categories, self.root)
        self._positions = [
            index for index, item in enumerate(records[split]) if item.category in chosen
        ]
        self.items = [records[split][index] for index in self._positions]
        self.folders = chosen
        self._stored = _stored_records(self.root, split, len(records[split]))
        self.shortfalls = compare_counts(
            dataset, self.items, split, None if categories is None else chosen
        )

    def __getitem__(self, index: int) -> Record:
        item = self.items[index]
        stored = self._read(self._positions[index], item)
        return self.record(item, stored["image"], stored["mask"] or None, self._mask_threshold)

    def _read(self, position: int, item: Item) -> Any:
        try:
            stored = self._stored[position]
            reason = f"it is one of {stored['name'].decode()}"
        except Exception as error:  # array_record and protobuf raise their own kinds.
            stored, reason = None, str(error)
        # A truncated file may give records without content.
        if stored is None or stored["image"] is None or stored["name"].decode() != item.image:
            raise DatasetError(
                f"{self.root} has a damaged record of {item.image} ({reason}): expected to be "
                "prepared again"
            )
        return stored


def read_index(dataset: Dataset, directory: pathlib.Path) -> tuple[dict[str, list[Item]], int]:
    """All records of prepared data by split, without photos, and the threshold of the masks.

    Raises:
        DatasetError: an index that is missing, damaged, or of another data set.
    """
    path = directory / "metadata.json"
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        records = {
            split: [Item(*record) for record in stored]
            for split, stored in metadata["records"].items()
        }
        return records, int(metadata["mask_threshold"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} is no index of prepared data ({error}): expected {dataset.title} prepared by "
            f"zsas data prepare {dataset.name}"
        ) from error


def _stored_records(directory: pathlib.Path, split: str, expected: int) -> Any:
    try:
        builder: Any = tfds.builder_from_directory(directory)
        stored = builder.as_data_source(split)
        found = len(stored)
    except Exception as error:  # As above.
        raise DatasetError(
            f"{directory} cannot be read ({error}): expected complete prepared data"
        ) from error
    if found != expected:
        raise DatasetError(
            f"{directory} holds {found} {split} records: expected the {expected} of its index"
        )
    return stored


def find_prepared(dataset: Dataset, directory: str | os.PathLike[str]) -> pathlib.Path | None:
    """The directory of the data set's prepared version in or below a directory.

    Raises:
        DatasetError: prepared data of another data set, or of other versions only.
    """
    top = pathlib.Path(directory)
    version = pathlib.Path(dataset.version)
    places = (version, dataset.name / version, pathlib.Path(FOLDER, dataset.name) / version)
    for place in (top, *(top / place for place in places)):
        info = place / "dataset_info.json"
        if info.is_file():
            name = _stored_name(info)
            if name == dataset.name:
                return place
            if place == top:
                raise DatasetError(f"{top} is the data set {name!r}: expected {dataset.name!r}")
    for place in (top, top / dataset.name, top / FOLDER / dataset.name):
        others = sorted(path.parent.name for path in place.glob("[0-9]*/dataset_info.json"))
        if others and dataset.version not in others:
            raise DatasetError(
                f"{place} holds version {', '.join(others)} of {dataset.title}: expected version "
                f"{dataset.version}, so prepare it again"
            )
    return None


def _stored_name(info: pathlib.Path) -> str | None:
    try:
        return json.loads(info.read_text(encoding="utf-8")).get("name")
    except (OSError, ValueError, AttributeError) as error:
        raise DatasetError(
            f"{info} is damaged ({error}): expected TFDS's description of prepared data"
        ) from error


def prepare(
    dataset: Dataset,
    data_dir: str | os.PathLike[str],
    output_dir: str | os.PathLike[str] | None = None,
) -> pathlib.Path:
    """Writes a data set in TFDS's form from its tree or archive in `data_dir`; returns where.

    An archive is unpacked beside itself first. The result lies in `output_dir` (default
    `data_dir`/prepared), in `<name>/<version>`; what is there already is left as it is. Missing
    photos are a logged warning.

    Raises:
        DatasetError: no tree and no archive, a damaged one, a photo with a defect whose mask is
            missing, other prepared data in the same place, or a file that cannot be read or
            written.
    """
    top = existing_directory(data_dir, f"{dataset.title} ({dataset.layout})")
    root = _tree(dataset, top)
    items = read_items(dataset, root)
    folders = sorted({item.category for item in items})
    splits = {
        split: usable_items(dataset, root, items, split, folders)
        for split in SPLITS
        if any(item.split == split for item in items)
    }
    usable = [item for chosen in splits.values() for item in chosen]
    warn_of(dataset, root, compare_counts(dataset, usable))

    output = top / FOLDER if output_dir is None else pathlib.Path(output_dir)
    place = output / dataset.name / dataset.version
    if place.exists():
        if read_index(dataset, place)[0] != splits:
            raise DatasetError(
                f"{place} was prepared from other files than {root} holds now: expected it to be "
                "removed first"
            )
        return place
    known = BUILDERS.get(dataset.name)
    kind = known if known and known.dataset is dataset else builder_class(dataset)
    config = tfds.download.DownloadConfig(manual_dir=root, try_download_gcs=False)
    try:
        with (
            contextlib.redirect_stdout(sys.stderr),
            tempfile.TemporaryDirectory() as downloads,  # Nothing is downloaded into it.
        ):
            builder = kind(data_dir=os.fspath(output), file_format="array_record")
            builder.download_and_prepare(download_dir=downloads, download_config=config)
    except OSError as error:
        raise DatasetError(
            f"{dataset.title} cannot be prepared ({error}): expected readable files in {root} and "
            f"room in {output}"
        ) from error
    return place


def _tree(dataset: Dataset, top: pathlib.Path) -> pathlib.Path:
    """The tree's root, after unpacking what has to be."""
    for archive in archives.find_archives(dataset, top):
        folder = archives.unpacked_name(archive)
        if not dataset.in_parts and find_roots(dataset, top):
            break
        if folder.exists():
            if not dataset.in_parts:
                raise DatasetError(
                    f"{folder} is there and is not {dataset.title} as published: expected it to be "
                    f"complete, or removed so that {archive.name} can be unpacked again"
                )
            continue
        if problem := archives.checksum_problem(dataset, archive):
            logger.warning("%s", problem)
        logger.info("unpacking %s", archive)
        archives.unpack(archive)
    return find_root(dataset, top)
