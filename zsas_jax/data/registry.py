"""Data sets by name. One of your own is a `Dataset`, registered or in a file; see `description`."""

import functools
import os
import pathlib
import runpy
from collections.abc import Callable, Sequence
from typing import cast

from zsas_jax.config import suggestion
from zsas_jax.data.description import SPLITS, Dataset
from zsas_jax.data.folder import FolderSource
from zsas_jax.data.prepared import PreparedSource, find_prepared
from zsas_jax.data.published import PUBLISHED
from zsas_jax.data.sources import AnomalySource, existing_directory
from zsas_jax.data.synthetic import SyntheticSource
from zsas_jax.data.trees import TreeSource, find_roots, warn_of
from zsas_jax.errors import DatasetError

Builder = Callable[..., AnomalySource]


def _synthetic(data_dir, categories, seed, mask_dir) -> AnomalySource:
    if data_dir is not None:
        raise DatasetError(f"synthetic reads no files: expected no data directory, not {data_dir}")
    source = SyntheticSource(split="eval", seed=seed, classes=categories)
    return cast(AnomalySource, source)


def _folder(data_dir, categories, seed, mask_dir) -> AnomalySource:
    names = ["object"] if categories is None else list(categories)
    if len(names) != 1:
        raise DatasetError(f"folder got the categories {names}: expected one name for the prompts")
    return FolderSource(data_dir, category=names[0], mask_dir=mask_dir)


def _published(
    dataset: Dataset, data_dir, categories, seed, mask_dir, split: str = "test"
) -> AnomalySource:
    """The published tree, else what was prepared from it; warns where photos are missing."""
    top = existing_directory(data_dir, f"{dataset.title} ({dataset.layout})")
    prepared = find_prepared(dataset, top)
    if prepared is not None and not find_roots(dataset, top):
        source = PreparedSource(dataset, prepared, categories, split)
    else:
        source = TreeSource(dataset, top, categories, split)
    warn_of(dataset, source.root, source.shortfalls)
    return source


DATASETS: dict[str, Builder] = {
    "synthetic": _synthetic,
    "folder": _folder,
    **{name: functools.partial(_published, dataset) for name, dataset in PUBLISHED.items()},
}


def register(dataset: Dataset) -> None:
    """Makes a data set of your own known by its name, to `open_dataset` and what builds on it.

    Raises:
        DatasetError: the name is taken by another data set.
    """
    if dataset.name in DATASETS and PUBLISHED.get(dataset.name) != dataset:
        raise DatasetError(f"There is a data set {dataset.name!r} already: expected another name")
    PUBLISHED[dataset.name] = dataset
    DATASETS[dataset.name] = functools.partial(_published, dataset)


def find_dataset(name: str) -> Dataset:
    """The description of a published data set, or of your own in `FILE.py` as `DATASET`.

    Raises:
        DatasetError: an unknown name, or a file that fails or has no `DATASET`.
    """
    if name.endswith(".py"):
        return _load(pathlib.Path(name))
    if name not in PUBLISHED:
        raise DatasetError(f"There is no data set {name!r}{suggestion(name, PUBLISHED)}")
    return PUBLISHED[name]


def _load(path: pathlib.Path) -> Dataset:
    if not path.is_file():
        raise DatasetError(f"{path} does not exist: expected a Python file with a DATASET")
    try:
        dataset = runpy.run_path(os.fspath(path)).get("DATASET")
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    except Exception as error:
        raise DatasetError(f"{path} cannot be run ({type(error).__name__}: {error})") from error
    if not isinstance(dataset, Dataset):
        raise DatasetError(
            f"{path} has no DATASET: expected DATASET = zsas_jax.data.description.Dataset(...)"
        )
    return dataset


def open_dataset(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    categories: Sequence[str] | None = None,
    seed: int = 0,
    mask_dir: str | os.PathLike[str] | None = None,
    split: str = "test",
) -> AnomalySource:
    """Opens a data set by its name in `DATASETS`.

    Args:
        name: "synthetic" (the generator's held-out classes), "folder", a published data set, or a
            Python file with a `DATASET` of your own.
        data_dir: the published tree, what `zsas data prepare` made of it, or the
            folder of photos; not for "synthetic".
        categories: the categories to read, default all; for "folder" the one name for prompts.
        seed: of the synthetic pictures.
        mask_dir: masks of "folder".
        split: "test" or "train", of published data sets.

    Raises:
        DatasetError: an unknown name or category, or a directory that is missing or malformed.
    """
    if name.endswith(".py"):
        builder: Builder = functools.partial(_published, find_dataset(name))
    elif name in DATASETS:
        builder = DATASETS[name]
    else:
        raise DatasetError(f"There is no data set {name!r}{suggestion(name, DATASETS)}")
    if data_dir is None and name != "synthetic":
        raise DatasetError(f"{name} needs a data directory (--data-dir), and none was given")
    if mask_dir is not None and name != "folder":
        raise DatasetError(f"{name} has its own masks: expected no mask directory, not {mask_dir}")
    if split not in SPLITS:
        raise DatasetError(f"There is no split {split!r}{suggestion(split, SPLITS)}")
    if split == "test":
        return builder(data_dir, categories, seed, mask_dir)
    if name in ("synthetic", "folder"):
        raise DatasetError(f"{name} has no {split} split: expected test")
    return builder(data_dir, categories, seed, mask_dir, split=split)
