"""The kinds of files that results are written to, each whole or absent."""

import csv
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from zsas_jax.files import atomic_path


def save_json(path: str | os.PathLike[str], data: Any) -> None:
    """Writes `data` indented; NaN is refused, so that every reader understands the file."""
    with atomic_path(path) as part:
        part.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", "utf-8")


def save_csv(
    path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Writes a table with a header line."""
    with atomic_path(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_csv(path: str | os.PathLike[str]) -> list[list[str]]:
    """The rows below the header."""
    with pathlib.Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def save_map_png16(path: str | os.PathLike[str], anomaly_map: Float[np.ndarray, "h w"]) -> None:
    """Writes a map in [0, 1] as 16-bit greyscale PNG; 65535 is 1.0."""
    levels = np.rint(np.clip(anomaly_map, 0, 1) * 65535).astype(np.uint16)
    with atomic_path(path) as part:
        Image.fromarray(levels).save(part, format="PNG", compress_level=3)


def save_mask_png(path: str | os.PathLike[str], mask: Bool[np.ndarray, "h w"]) -> None:
    """Writes a mask as 8-bit greyscale PNG; 255 is anomalous."""
    with atomic_path(path) as part:
        Image.fromarray(np.uint8(mask) * np.uint8(255)).save(part, format="PNG")
