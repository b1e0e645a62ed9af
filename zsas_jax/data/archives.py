"""The archives that data sets are published as: finding them and unpacking them safely."""

import contextlib
import hashlib
import lzma
import pathlib
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator

from zsas_jax.data.description import Dataset
from zsas_jax.errors import DatasetError

_SUFFIXES = (".tar.xz", ".tar.gz", ".tar.bz2", ".txz", ".tgz", ".tar", ".zip")
_DAMAGE = (tarfile.ReadError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError)


def find_archives(dataset: Dataset, directory: pathlib.Path) -> list[pathlib.Path]:
    """The data set's published archives in a directory, in the order of its patterns."""
    found = []
    for pattern in dataset.archives:
        for path in sorted(directory.glob(pattern)):
            if path.is_file() and path.name.endswith(_SUFFIXES) and path not in found:
                found.append(path)
    return found


def unpacked_name(archive: pathlib.Path) -> pathlib.Path:
    """The folder that `unpack` makes of an archive: its path without the suffix."""
    suffix = next(suffix for suffix in _SUFFIXES if archive.name.endswith(suffix))
    return archive.with_name(archive.name.removesuffix(suffix))


def unpack(archive: pathlib.Path) -> pathlib.Path:
    """Unpacks an archive into the folder beside it that has its name; returns the folder.

    The folder appears only when all is unpacked. A single folder of the same name inside the
    archive is not repeated.

    Raises:
        DatasetError: a damaged archive, one with a file that would land elsewhere, a folder that
            is there already, or a disk that takes no more.
    """
    target = unpacked_name(archive)
    if target.exists():
        raise DatasetError(f"{target} is there already: expected nothing where {archive} goes")
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with _explained(archive):
            part.mkdir()
            if archive.suffix == ".zip":
                _unpack_zip(archive, part)
            else:
                with tarfile.open(archive) as tar:
                    tar.extractall(part, filter="data")
        inside = [path for path in part.iterdir() if path.name != "__MACOSX"]
        single = len(inside) == 1 and inside[0].is_dir() and inside[0].name == target.name
        (inside[0] if single else part).rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _unpack_zip(archive: pathlib.Path, target: pathlib.Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            path = pathlib.PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
                raise DatasetError(
                    f"{archive} has a file {name!r} that would land outside of its folder: "
                    "expected the archive as published"
                )
        file.extractall(target)


@contextlib.contextmanager
def _explained(archive: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except tarfile.FilterError as error:
        raise DatasetError(
            f"{archive} has a file that would land outside of its folder ({error}): expected the "
            "archive as published"
        ) from error
    except _DAMAGE as error:
        raise DatasetError(
            f"{archive} is truncated or damaged ({error}): expected a complete archive"
        ) from error
    except (RuntimeError, NotImplementedError) as error:  # A password or an unknown compression.
        raise DatasetError(
            f"{archive} cannot be unpacked ({error}): expected the archive as published"
        ) from error
    except OSError as error:
        raise DatasetError(
            f"{archive} cannot be unpacked ({error.strerror or error}): expected a readable "
            "archive and room beside it"
        ) from error


def checksum_problem(dataset: Dataset, archive: pathlib.Path) -> str | None:
    """One sentence where the archive's SHA-256 is not the published one; the whole file is read."""
    expected = dataset.sha256.get(archive.name)
    if expected is None:
        return None
    with open(archive, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == expected:
        return None
    return f"{archive} has the SHA-256 {found}: published {expected}"
