"""Any tree of photos, with or without masks."""

import concurrent.futures
import os
import pathlib
import unicodedata
from collections.abc import Iterator

import numpy as np

from zsas_jax.data.images import MASK_THRESHOLD, decode_mask, image_size, mask_peak
from zsas_jax.data.sources import Record, check_names, existing_directory
from zsas_jax.errors import DatasetError, ImageError

# fmt: off
PHOTO_SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif",
    ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif",
])
# fmt: on
# Files of a run (report/results.py): pictures beside and below both of them are no photos.
RESULTS = ("run.json", "small_maps.npy")


class FolderSource:
    """All photos below a directory, sorted by path; hidden files and folders are skipped.

    `mask_dir` holds `<relative path without suffix>.png` for photos with defects: above 127 is
    anomalous, no file (or zeros alone) means a good part. Masks inside `root` are not taken for
    photos, nor are the results of evaluations.

    Raises:
        DatasetError: a missing directory, no photos, a name that is not UTF-8, a mask directory
            that is the photos' own or matches none, or a mask of another size than its photo or
            without a value above 127 or 0.
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
        if self.mask_dir is not None and self.mask_dir.resolve() == self.root.resolve():
            raise DatasetError(
                f"{mask_dir} is the directory of the photos too: expected masks in one of their own"
            )
        self.names = find_photos(self.root, self.mask_dir)
        if not self.names:
            raise DatasetError(
                f"{self.root} holds no photos: expected files that end in "
                f"{', '.join(sorted(PHOTO_SUFFIXES))}"
            )
        self.warnings: list[str] = []  # for readers of the scores
        self._masks: dict[str, pathlib.Path] = {}
        if self.mask_dir is not None:
            self._find_masks(self.mask_dir)
            with concurrent.futures.ThreadPoolExecutor() as executor:
                list(executor.map(self._check_mask, self._masks))

    @property
    def categories(self) -> tuple[str, ...]:
        """The one name that prompts use."""
        return (self.category,)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Record:
        name = self.names[index]
        mask, label, defect = None, -1, "unlabeled"
        if self.has_masks:
            mask, label = _read_mask(self._masks.get(name))
            defect = "defect" if label else "good"
        return {
            "image": str(self.root / name),
            "mask": mask,
            "name": name,
            "category": self.category,
            "defect": defect,
            "label": label,
        }

    def _find_masks(self, mask_dir: pathlib.Path) -> None:
        """The photos' masks, also where one name is composed ("ü") and the other is not."""
        listed = {_composed(path): path for path in find_photos(mask_dir, self.root)}
        for name in self.names:
            wanted = mask_name(name)
            path = mask_dir / wanted
            if not path.is_file() and _composed(wanted) in listed:
                path = mask_dir / listed[_composed(wanted)]
            if path.is_file():
                self._masks[name] = path
        if not self._masks:
            raise DatasetError(
                f"{mask_dir} holds no mask of a photo in {self.root}: expected, for example, "
                f"{mask_dir / mask_name(self.names[0])}"
            )
        # No error: there may be masks of more photos than are looked at.
        strays = sorted(listed.keys() - {_composed(mask_name(name)) for name in self.names})
        if strays:
            self.warnings.append(
                f"{mask_dir} holds masks of no photo ({len(strays)}, first {listed[strays[0]]}) "
                "and a photo without a mask counts as good: expected names like "
                f"{mask_name(self.names[0])} for {self.names[0]}"
            )

    def _check_mask(self, name: str) -> None:
        path = self._masks[name]
        found = image_size(path)
        try:
            expected = image_size(self.root / name)
            peak, highest = mask_peak(path)
        except ImageError:  # Reported when it is the photo's turn.
            return
        if found != expected:
            raise DatasetError(
                f"{path} has {found[1]} x {found[0]} pixels: expected the "
                f"{expected[1]} x {expected[0]} of its photo {name}"
            )
        if 0 < peak <= MASK_THRESHOLD * highest // 255:
            raise DatasetError(
                f"{path} has no value above {peak}, which is neither good nor anomalous: expected "
                f"{highest} for anomalous pixels and 0 for the others"
            )


def _read_mask(path: pathlib.Path | None) -> tuple[np.ndarray | str | None, int]:
    """The mask of a record, and its label."""
    if path is None:
        return None, 0
    try:
        mask = decode_mask(path)
    except ImageError:  # Whoever reads the mask reports it, with the photo's name.
        return str(path), 1
    return mask, int(mask.any())


def mask_name(name: str) -> str:
    """The relative path of the mask of the photo with this one."""
    return pathlib.PurePosixPath(name).with_suffix(".png").as_posix()


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def find_photos(root: pathlib.Path, skip: pathlib.Path | None = None) -> list[str]:
    """Sorted relative POSIX paths of the photos below `root`; `skip` is a folder to leave out.

    Raises:
        DatasetError: a name that is not UTF-8.
    """
    found = []
    for folder, folders, files in walk(root, skip):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = pathlib.Path(folder).relative_to(root)
        found += [
            (relative / name).as_posix()
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in PHOTO_SUFFIXES
        ]
    check_names(found, root)
    return sorted(found)


def walk(
    root: str | os.PathLike[str], skip: str | os.PathLike[str] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` in the order of names, which follows links and enters each folder once.

    Folders of results are left out, and so is `skip`.

    Raises:
        DatasetError: a folder cannot be read.
    """
    seen = set() if skip is None else {os.path.realpath(skip)}
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_refuse_unreadable):
        real = os.path.realpath(folder)
        if real in seen or {*RESULTS} <= {*files}:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield folder, folders, sorted(files)


def _refuse_unreadable(error: OSError) -> None:
    # Its photos would be missing without a word, and parts whose masks it has would be good ones.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise DatasetError(
            f"{error.filename} cannot be read ({error.strerror}): expected folders that can be"
        ) from error
