"""Writing checkpoint directories, each beside its final place and renamed when it is whole."""

import contextlib
import errno
import importlib.metadata
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import safetensors

from zsas_jax.checkpoints.arrays import save_arrays
from zsas_jax.checkpoints.bundle import Bundle
from zsas_jax.checkpoints.load import FORMAT, tokenizer_places
from zsas_jax.checkpoints.manifest import write_json, write_manifest
from zsas_jax.checkpoints.paths import UNFINISHED
from zsas_jax.config import to_dict
from zsas_jax.errors import CheckpointError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def save(
    path: str | os.PathLike[str],
    bundle: Bundle,
    *,
    overwrite: bool = False,
    provenance: Mapping[str, Any] | None = None,
) -> pathlib.Path:
    """Writes a checkpoint directory atomically.

    Raises:
        CheckpointError: the directory exists and `overwrite` is False, or cannot be written.
    """
    path = pathlib.Path(path).absolute()
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} exists already: expected a new directory")
    part = path.with_name(path.name + UNFINISHED)
    with _written(path, part):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        require_space(part, sum(leaf.nbytes for leaf in jax.tree.leaves(bundle.model)))
        save_arrays(part, bundle.model)
        for network, place in tokenizer_places(bundle.config.networks).items():
            if bundle.tokenizers.get(network) is not None:
                bundle.tokenizers[network].save(part / place)
        write_json(part / "config.json", {"format": FORMAT, **version(), **to_dict(bundle.config)})
        if provenance is not None:
            write_json(part / "provenance.json", provenance)
        # What people wrote by hand beside the weights (the model card) survives a new save.
        if path.exists():
            for document in path.glob("*.md"):
                shutil.copy2(document, part / document.name)
        write_manifest(part)
        old = path.with_name(path.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        part.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    return path


def version() -> dict[str, str]:
    """The version of this package, as checkpoints record it."""
    return {"zsas_jax": importlib.metadata.version("zsas_jax")}


def require_space(directory: pathlib.Path, needed: int) -> None:
    """Checks the space of the file system that `directory` is on, before anything is written.

    Raises:
        CheckpointError: less than `needed` bytes are free.
    """
    usage = shutil.disk_usage(directory)
    if usage.total and usage.free < needed:
        place = directory.parent if directory.name.endswith(UNFINISHED) else directory
        raise CheckpointError(
            f"{place} has no room: the weights need {needed / 1e9:.3f} GB, "
            f"{usage.free / 1e9:.3f} GB are free"
        )


@contextlib.contextmanager
def _written(path: pathlib.Path, part: pathlib.Path) -> Iterator[None]:
    """Turns a failure to write into one sentence, and takes the unfinished directory away."""
    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        code = error.errno if isinstance(error, OSError) else None
        # safetensors has no code, only the text that Rust gives it: "... (os error 28)".
        text = f"{error}".splitlines()[0]
        if code in _FULL or any(f"(os error {full})" in text for full in _FULL):
            raise CheckpointError(f"{path} cannot be written: no space left there") from error
        reason = getattr(error, "strerror", None) or text
        raise CheckpointError(f"{path} cannot be written: {reason}") from error
    except Exception:
        shutil.rmtree(part, ignore_errors=True)
        raise
