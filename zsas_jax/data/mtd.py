"""Magnetic Tile Defect in its published layout (Huang et al., The Visual Computer 2020).

`<root>/MT_{Blowhole,Break,Crack,Fray,Free,Uneven}/Imgs/<name>.jpg` and the mask `<name>.png`.
There is no official split: all images are test images. They are labelled by folder (four images
of MT_Uneven have empty masks); masks have grey edges and are cut above 127.
"""

import os
import pathlib
from collections.abc import Sequence

from zsas_jax.data.sources import Record, existing_directory, select_categories
from zsas_jax.errors import DatasetError

CATEGORY = "magnetic tile"
FREE = "MT_Free"
_LAYOUT = "MT_*/Imgs/<name>.jpg with the mask <name>.png beside it"


class MTDSource:
    """All images of one category, "magnetic tile"; the folders MT_* are the types of defect.

    `root` holds the folders MT_*, or one folder that does. MT_Free is "good".

    Raises:
        DatasetError: another layout, another category, or a defect image without its mask.
    """

    has_masks = True

    def __init__(self, root: str | os.PathLike[str], categories: Sequence[str] | None = None):
        select_categories([CATEGORY], categories, "MTD")
        self.root = _find_root(existing_directory(root, f"MTD ({_LAYOUT})"))
        self._photos = sorted(
            path
            for path in self.root.glob("MT_*/Imgs/*")
            if path.suffix.lower() == ".jpg" and not path.name.startswith(".")
        )
        if not self._photos:
            raise DatasetError(f"{self.root} holds no images of MTD: expected {_LAYOUT}")
        for photo in self._photos:
            mask = photo.with_suffix(".png")
            if _defect(photo) != "good" and not mask.is_file():
                raise DatasetError(f"{mask} does not exist: expected the mask of {photo.name}")

    @property
    def categories(self) -> tuple[str, ...]:
        """The one category."""
        return (CATEGORY,)

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int) -> Record:
        photo = self._photos[index]
        defect = _defect(photo)
        return {
            "image": str(photo),
            # The masks of MT_Free are all zero.
            "mask": None if defect == "good" else str(photo.with_suffix(".png")),
            "name": photo.relative_to(self.root).as_posix(),
            "category": CATEGORY,
            "defect": defect,
            "label": int(defect != "good"),
        }


def _defect(photo: pathlib.Path) -> str:
    folder = photo.parent.parent.name
    return "good" if folder == FREE else folder


def _find_root(root: pathlib.Path) -> pathlib.Path:
    candidates = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    for candidate in candidates:
        if any(path.is_dir() for path in candidate.glob("MT_*/Imgs")):
            return candidate
    hint = " above it" if root.name.startswith("MT_") else ""
    raise DatasetError(
        f"{root} is not MTD as published: expected the directory{hint} that holds {_LAYOUT}"
    )
