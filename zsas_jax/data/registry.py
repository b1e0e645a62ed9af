"""Data sets by name. A new one is a source (see `sources`) and one entry in `DATASETS`."""

import os
from collections.abc import Callable, Sequence
from typing import cast

from zsas_jax.config import suggestion
from zsas_jax.data.sources import AnomalySource
from zsas_jax.errors import DatasetError

Builder = Callable[..., AnomalySource]


def _synthetic(data_dir, categories, seed, mask_dir) -> AnomalySource:
    from zsas_jax.data.synthetic import SyntheticSource

    if data_dir is not None:
        raise DatasetError(f"synthetic reads no files: expected no data directory, not {data_dir}")
    source = SyntheticSource(split="eval", seed=seed, classes=categories)
    return cast(AnomalySource, source)


def _folder(data_dir, categories, seed, mask_dir) -> AnomalySource:
    from zsas_jax.data.folder import FolderSource

    names = ["object"] if categories is None else list(categories)
    if len(names) != 1:
        raise DatasetError(f"folder got the categories {names}: expected one name for the prompts")
    return FolderSource(data_dir, category=names[0], mask_dir=mask_dir)


def _mvtec(data_dir, categories, seed, mask_dir) -> AnomalySource:
    from zsas_jax.data.mvtec import MVTecSource

    return MVTecSource(data_dir, categories)


def _mtd(data_dir, categories, seed, mask_dir) -> AnomalySource:
    from zsas_jax.data.mtd import MTDSource

    return MTDSource(data_dir, categories)


DATASETS: dict[str, Builder] = {
    "synthetic": _synthetic,
    "folder": _folder,
    "mvtec": _mvtec,
    "mtd": _mtd,
}


def open_dataset(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    categories: Sequence[str] | None = None,
    seed: int = 0,
    mask_dir: str | os.PathLike[str] | None = None,
) -> AnomalySource:
    """Opens a data set by its name in `DATASETS`.

    Args:
        name: "synthetic" (the generator's held-out classes), "folder", "mvtec" or "mtd".
        data_dir: the published tree, or the folder of photos; not for "synthetic".
        categories: the categories to read, default all; for "folder" the one name for prompts.
        seed: of the synthetic pictures.
        mask_dir: masks of "folder".

    Raises:
        DatasetError: an unknown name or category, or a directory that is missing or malformed.
    """
    if name not in DATASETS:
        raise DatasetError(f"There is no data set {name!r}{suggestion(name, DATASETS)}")
    if data_dir is None and name != "synthetic":
        raise DatasetError(f"{name} needs a data directory (--data-dir), and none was given")
    if mask_dir is not None and name != "folder":
        raise DatasetError(f"{name} has its own masks: expected no mask directory, not {mask_dir}")
    return DATASETS[name](data_dir, categories, seed, mask_dir)
