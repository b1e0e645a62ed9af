"""MVTec AD's test split in its published layout (Bergmann et al., CVPR 2019).

`<root>/<category>/test/{good,<defect>}/000.png`, and for each image with a defect the mask
`<root>/<category>/ground_truth/<defect>/000_mask.png`.
"""

import os
import pathlib
from collections.abc import Sequence

from zsas_jax.data.folder import find_photos
from zsas_jax.data.sources import Record, existing_directory, select_categories, words
from zsas_jax.errors import DatasetError

_LAYOUT = "<category>/test/<defect>/*.png and <category>/ground_truth/<defect>/*_mask.png"


class MVTecSource:
    """The test images of the categories asked for (folder names or words), default all present.

    Raises:
        DatasetError: another layout, an unknown category, or a defect image without its mask.
    """

    has_masks = True

    def __init__(self, root: str | os.PathLike[str], categories: Sequence[str] | None = None):
        self.root = self._find_root(existing_directory(root, f"MVTec AD ({_LAYOUT})"))
        available = sorted(path.parent.name for path in self.root.glob("*/test") if path.is_dir())
        self.folders = select_categories(available, categories, f"MVTec AD in {self.root}")
        self._items = [item for folder in self.folders for item in self._category(folder)]

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories in words, in order."""
        return tuple(words(folder) for folder in self.folders)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Record:
        folder, defect, photo, mask = self._items[index]
        return {
            "image": str(self.root / photo),
            "mask": None if mask is None else str(mask),
            "name": photo,
            "category": words(folder),
            "defect": defect,
            "label": int(defect != "good"),
        }

    @staticmethod
    def _find_root(root: pathlib.Path) -> pathlib.Path:
        """The directory of the categories: `root`, or the one folder of the archive inside it."""
        for candidate in (root, root / "mvtec_anomaly_detection"):
            if any(path.is_dir() for path in candidate.glob("*/test")):
                return candidate
        if (root / "test").is_dir():
            raise DatasetError(
                f"{root} is a single category of MVTec AD: expected the directory above it (select "
                f"the category by its name, {root.resolve().name!r})"
            )
        raise DatasetError(f"{root} is not MVTec AD as published: expected {_LAYOUT} in it")

    def _category(self, folder: str) -> list[tuple[str, str, str, pathlib.Path | None]]:
        test = self.root / folder / "test"
        items = []
        for relative in find_photos(test):
            defect = pathlib.PurePosixPath(relative).parts[0]
            photo, mask = f"{folder}/test/{relative}", None
            if defect == relative:
                raise DatasetError(
                    f"{test / relative} lies in no folder of a defect: expected {_LAYOUT}"
                )
            if defect != "good":
                mask = self.root / folder / "ground_truth" / relative
                mask = mask.with_name(f"{mask.stem}_mask.png")
                if not mask.is_file():
                    raise DatasetError(f"{mask} does not exist: expected the mask of {photo}")
            items.append((folder, defect, photo, mask))
        if not items:
            raise DatasetError(f"{test} holds no images: expected {_LAYOUT}")
        return items
