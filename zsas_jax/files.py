"""Writing files so that each is either whole or absent, by one process at a time."""

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator

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
