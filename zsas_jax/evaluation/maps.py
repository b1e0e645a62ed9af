"""Anomaly maps as files: 16-bit pictures, masks, and the small maps by which runs are compared."""

import os
import pathlib

import numpy as np
from jaxtyping import Bool, Float, Float16
from PIL import Image

from zsas_jax.evaluation.results import SMALL_MAPS
from zsas_jax.files import atomic_path

SMALL = 48  # side of the small maps


def save_map_png16(path: str | os.PathLike[str], anomaly_map: Float[np.ndarray, "h w"]) -> None:
    """Writes a map in [0, 1] as 16-bit greyscale PNG; 65535 is 1.0."""
    levels = np.rint(np.clip(anomaly_map, 0, 1) * 65535).astype(np.uint16)
    with atomic_path(path) as part:
        Image.fromarray(levels).save(part, format="PNG", compress_level=3)


def save_mask_png(path: str | os.PathLike[str], mask: Bool[np.ndarray, "h w"]) -> None:
    """Writes a mask as 8-bit greyscale PNG; 255 is anomalous."""
    with atomic_path(path) as part:
        Image.fromarray(np.uint8(mask) * np.uint8(255)).save(part, format="PNG")


def open_small_maps(directory: pathlib.Path, count: int) -> Float16[np.ndarray, "n side side"]:
    """small_maps.npy of a run, one map for each position in the source, on disk; NaN: none yet."""
    path, shape = directory / SMALL_MAPS, (count, SMALL, SMALL)
    try:
        found = np.load(path, mmap_mode="r+")
        if found.shape == shape and found.dtype == np.float16:
            return found
    except (OSError, ValueError):
        pass
    # Written, not mapped: a full disk is an error here, but the end of a process that fills a map.
    empty = np.full(shape[1:], np.nan, np.float16)
    with atomic_path(path) as part, part.open("wb") as file:
        header = {"descr": empty.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(count):
            file.write(empty.tobytes())
    return np.load(path, mmap_mode="r+")


def small_map(anomaly_map: Float[np.ndarray, "h w"]) -> Float16[np.ndarray, "side side"]:
    """Means of `SMALL` x `SMALL` tiles."""
    picture = Image.fromarray(anomaly_map.astype(np.float32, copy=False))
    return np.asarray(picture.resize((SMALL, SMALL), Image.Resampling.BOX), np.float16)
