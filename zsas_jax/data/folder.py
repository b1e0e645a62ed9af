"""Any tree of photos, with or without masks."""

import os
import pathlib

import numpy as np

from zsas_jax.data.images import decode_mask, image_size
from zsas_jax.data.sources import Record, existing_directory
from zsas_jax.errors import DatasetError, ImageError

# fmt: off
PHOTO_SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif",
    ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif",
])
# fmt: on


class FolderSource:
    """All photos below a directory, sorted by path; hidden files and folders are skipped.

    `mask_dir` holds `<relative path without suffix>.png` for photos with defects: above 127 is
    anomalous, no file (or nothing above 127) means a good part. Masks inside `root` are not taken
    for photos.

    Raises:
        DatasetError: a missing directory, no photos, a mask directory that matches no photo, or a
            mask of another size than its photo.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        category: str = "object",
        mask_dir: str | os.PathLike[str] | None = None,
    ):
        self.root = existing_directory(root, "photos")
        self.mask_dir = None if mask_dir is None else existing_directory(mask_dir, "masks")
        # Without masks nothing is known, not even which parts are good.
        self.has_masks = mask_dir is not None
        self.category = category
        self.names = find_photos(self.root, skip=self.mask_dir)
        if not self.names:
            raise DatasetError(
                f"{self.root} holds no photos: expected files that end in "
                f"{', '.join(sorted(PHOTO_SUFFIXES))}"
            )
        if self.mask_dir is not None:
            self._check_masks(self.mask_dir)

    @property
    def categories(self) -> tuple[str, ...]:
        """The one name that prompts use."""
        return (self.category,)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Record:
        name = self.names[index]
        mask, label, defect = None, -1, "unlabeled"
        if self.mask_dir is not None:
            mask, label = _read_mask(mask_path(self.mask_dir, name))
            defect = "defect" if label else "good"
        return {
            "image": str(self.root / name),
            "mask": mask,
            "name": name,
            "category": self.category,
            "defect": defect,
            "label": label,
        }

    def _check_masks(self, mask_dir: pathlib.Path) -> None:
        matched = [name for name in self.names if mask_path(mask_dir, name).is_file()]
        if not matched:
            raise DatasetError(
                f"{mask_dir} holds no mask of a photo in {self.root}: expected, for example, "
                f"{mask_path(mask_dir, self.names[0])}"
            )
        for name in matched:
            path = mask_path(mask_dir, name)
            found = image_size(path)
            try:
                expected = image_size(self.root / name)
            except ImageError:  # Reported when it is the photo's turn.
                continue
            if found != expected:
                raise DatasetError(
                    f"{path} has {found[1]} x {found[0]} pixels: expected the "
                    f"{expected[1]} x {expected[0]} of its photo {name}"
                )


def _read_mask(path: pathlib.Path) -> tuple[np.ndarray | str | None, int]:
    """The mask of a record, and its label."""
    if not path.is_file():
        return None, 0
    try:
        mask = decode_mask(path)
    except ImageError:  # Whoever reads the mask reports it, with the photo's name.
        return str(path), 1
    return mask, int(mask.any())


def mask_path(mask_dir: pathlib.Path, name: str) -> pathlib.Path:
    """Where the mask of the photo with this relative path is looked for."""
    return mask_dir / pathlib.PurePosixPath(name).with_suffix(".png")


def find_photos(root: pathlib.Path, skip: pathlib.Path | None = None) -> list[str]:
    """Sorted relative POSIX paths of the photos below `root`; `skip` is a folder to leave out."""
    found, seen = [], set()
    skipped = None if skip is None or skip.resolve() == root.resolve() else skip.resolve()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = pathlib.Path(folder).resolve()
        if real in seen or real == skipped:  # A link back up, or the masks.
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = pathlib.Path(folder).relative_to(root)
        found += [
            (relative / name).as_posix()
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in PHOTO_SUFFIXES
        ]
    return sorted(found)
