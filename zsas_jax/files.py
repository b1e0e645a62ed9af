"""Writing files so that each is either whole or absent, by one process at a time."""

import contextlib
import csv
import hashlib
import json
import os
import pathlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import filelock

from zsas_jax.errors import ConfigError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a new path in the same directory, renamed to `path` if all went well."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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


@contextlib.contextmanager
def sole_writer(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps other processes from writing results there; one that dies lets go.

    Raises:
        ConfigError: another process is at it; a directory that cannot be written.
    """
    directory = pathlib.Path(directory)
    lock = filelock.FileLock(directory / ".lock", timeout=0)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Where a file system has no locks, older versions of filelock raise this.
        with contextlib.suppress(NotImplementedError):
            lock.acquire()
    except filelock.Timeout:
        raise ConfigError(
            f"another process is writing results to {directory}: expected that it ends first, or "
            "another --output-dir"
        ) from None
    except OSError as error:
        raise not_writable(directory, error) from error
    try:
        yield
    finally:
        lock.release()


def not_writable(directory: pathlib.Path, error: OSError) -> ConfigError:
    """What a user is told of an output directory that refuses."""
    return ConfigError(
        f"output directory {directory} cannot be written ({error.strerror}): "
        "expected a directory of your own"
    )


def cache_root() -> pathlib.Path:
    """`$XDG_CACHE_HOME/zsas_jax`, by default `~/.cache/zsas_jax`."""
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(root) / "zsas_jax"


def sha256(file: pathlib.Path) -> str:
    """Hash of a file, read in pieces."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
