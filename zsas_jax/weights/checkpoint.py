"""Checkpoint directories: Orbax parameters, config, tokenizer, provenance, a manifest of hashes.

    config.json      format version and every knob of the networks and of the pipeline
    params/          Orbax, one array per leaf of the model
    tokenizer.json   the text tokenizer (absent where there is no CLIP, or none was given)
    provenance.json  where converted weights come from: files, sha256, converter, dtype
    manifest.json    size and sha256 of every other file

A directory is written beside its final place and renamed, so a half-written one never loads.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import jax
from flax import nnx

from zsas_jax.clip.tokenizer import Tokenizer, load_tokenizer
from zsas_jax.config import Config
from zsas_jax.errors import CheckpointError
from zsas_jax.model import Model, abstract_model
from zsas_jax.weights.arrays import array_targets, restore_arrays, save_arrays
from zsas_jax.weights.sharding import parameter_sharding

FORMAT = 1
# Above this size only sizes are checked at load time: hashing gigabytes costs more than reading.
HASH_LIMIT = 64 * 2**20
UNFINISHED = ".part"
NETWORKS = ("clip", "sam", "umci")


class Bundle(NamedTuple):
    """What `load` returns: the networks, the text tokenizer and every setting."""

    model: Model
    tokenizer: Tokenizer | None
    config: Config


def checkpoint_path(name: str | os.PathLike[str]) -> pathlib.Path:
    """A directory as given, a bundled checkpoint ("tiny"), or the conversion of hub names.

    Raises:
        CheckpointError: nothing of that name, or a conversion that was not finished.
    """
    path = pathlib.Path(name)
    if path.name.endswith(UNFINISHED):
        raise CheckpointError(f"{path} is an unfinished checkpoint: write or convert it again")
    if path.is_dir():
        return path
    package = pathlib.Path(__file__).resolve().parents[1]
    if str(name) == path.name:
        for root in (package.parent / "checkpoints", package / "_checkpoints"):
            if (root / path.name).is_dir():
                return root / path.name
    if path.with_name(path.name + UNFINISHED).is_dir():
        raise CheckpointError(
            f"checkpoint {str(name)!r} was not finished (writing it was interrupted): write or "
            "convert it again"
        )
    from zsas_jax.weights.hub import is_hub_name, require_conversion

    if is_hub_name(str(name)):
        return require_conversion(str(name))
    raise CheckpointError(
        f"checkpoint {str(name)!r} was not found: expected a directory, the bundled name 'tiny', "
        "or a hub name that was downloaded, such as "
        "openai/clip-vit-large-patch14-336+facebook/sam-vit-huge"
    )


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
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(bundle.model))
        require_space(part, needed)
        _reserve(part / "room", needed)
        save_arrays(part / "params", nnx.to_pure_dict(nnx.state(bundle.model)))
        if bundle.tokenizer is not None:
            bundle.tokenizer.save(part)
        settings = {"format": FORMAT, **version(), "config": bundle.config.to_dict()}
        _write_json(part / "config.json", settings)
        if provenance is not None:
            _write_json(part / "provenance.json", provenance)
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
    import zsas_jax

    return {"zsas_jax": zsas_jax.__version__}


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


def _reserve(file: pathlib.Path, needed: int) -> None:
    """Takes `needed` bytes and gives them back: quotas and limits fail here, before Orbax writes.

    Raises:
        OSError: the file system refuses.
    """
    if needed and hasattr(os, "posix_fallocate"):
        with file.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, needed)
        file.unlink()


@contextlib.contextmanager
def _written(path: pathlib.Path, part: pathlib.Path) -> Iterator[None]:
    """Turns a failure to write into one sentence, and takes the unfinished directory away."""
    try:
        yield
    except Exception as error:
        shutil.rmtree(part, ignore_errors=True)
        full = errno.errorcode.get(getattr(error, "errno", None) or 0) in (
            "ENOSPC",
            "EDQUOT",
            "EFBIG",
        )
        if full or "No space left" in str(error) or "quota exceeded" in str(error):
            raise CheckpointError(f"{path} cannot be written: no space left there") from error
        if isinstance(error, OSError):
            raise CheckpointError(f"{path} cannot be written: {error.strerror or error}") from error
        raise


def _write_json(file: pathlib.Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n")


def write_manifest(directory: pathlib.Path) -> None:
    """Records size and sha256 of every file but documents and the manifest itself."""
    files = {}
    for file in sorted(directory.rglob("*")):
        if file.is_file() and file.name != "manifest.json" and file.suffix != ".md":
            name = file.relative_to(directory).as_posix()
            files[name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
    _write_json(directory / "manifest.json", files)


def read_config(path: str | os.PathLike[str]) -> Config:
    """The config of a checkpoint directory, with no weights read."""
    directory = checkpoint_path(path)
    stored = read_json(directory / "config.json")
    if not isinstance(stored, dict) or not isinstance(stored.get("config"), dict):
        raise CheckpointError(
            f"{directory / 'config.json'} is damaged: expected an object with format and config"
        )
    if stored.get("format") != FORMAT:
        writer = stored.get("zsas_jax")
        reader = f"; zsas_jax {writer} or newer reads it" if writer else ""
        raise CheckpointError(
            f"{directory / 'config.json'} has format {stored.get('format')!r}: "
            f"this version of zsas_jax reads format {FORMAT}{reader}"
        )
    return Config.from_dict(stored["config"])


def load(
    name: str | os.PathLike[str] = "tiny",
    *,
    dtype: jax.typing.DTypeLike | None = None,
    mesh: jax.sharding.Mesh | None = None,
    networks: Collection[str] = NETWORKS,
) -> Bundle:
    """Opens a checkpoint directory, or a bundled or downloaded one by name.

    Args:
        name: a directory, "tiny", or hub names that `python -m zsas_jax.weights download` fetched.
        dtype: dtype of the parameters in memory; None keeps the stored one.
        mesh: devices over which the arrays are laid out as they are read, see
            `zsas_jax.weights.sharding`; None puts them on the first device.
        networks: those to read, of clip, sam and umci; the others are None.

    Raises:
        CheckpointError: a file is missing, damaged or of another format; it names the file.
    """
    directory = checkpoint_path(name)
    stored = read_config(directory)
    absent: dict[str, Any] = {network: None for network in NETWORKS if network not in networks}
    config = dataclasses.replace(stored, **absent)
    files = _check_files(directory)
    graphdef, params, buffers = nnx.split(abstract_model(config), nnx.Param, ...)
    place = parameter_sharding(mesh)
    params = array_targets(params, dtype, place)
    state = nnx.merge_state(params, array_targets(buffers, None, place))
    every = abstract_model(stored) if absent else None
    restored = restore_arrays(directory.absolute() / "params", nnx.to_pure_dict(state), every)
    nnx.replace_by_pure_dict(state, restored)
    tokenizer = None
    if config.clip and "tokenizer.json" in files:
        tokenizer = load_tokenizer(directory, config.clip.context_length)
    return Bundle(nnx.merge(graphdef, state), tokenizer, config)


def _check_files(directory: pathlib.Path) -> dict[str, Any]:
    """The manifest, after a check of all sizes, and of the hashes where that is quick."""
    files = read_manifest(directory)
    hash_all = sum(entry["bytes"] for entry in files.values()) <= HASH_LIMIT
    for name, entry in files.items():
        check_file(directory / name, entry, hashed=hash_all)
    return files


def read_manifest(directory: pathlib.Path) -> dict[str, Any]:
    """Name -> size and sha256 of every file of a checkpoint directory."""
    manifest = read_json(directory / "manifest.json")
    if not isinstance(manifest, dict) or not all(
        isinstance(entry, dict) and {"bytes", "sha256"} <= entry.keys()
        for entry in manifest.values()
    ):
        raise CheckpointError(
            f"{directory / 'manifest.json'} is damaged: expected a table of files with their bytes "
            "and sha256"
        )
    return manifest


def check_file(file: pathlib.Path, entry: Mapping[str, Any], *, hashed: bool) -> None:
    """Compares a file with its entry in the manifest.

    Raises:
        CheckpointError: it is missing, or of another size or hash.
    """
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: expected a file of {entry['bytes']} bytes")
    size = file.stat().st_size
    if size != entry["bytes"]:
        raise CheckpointError(f"{file} is damaged: it has {size} bytes, expected {entry['bytes']}")
    if hashed and sha256(file) != entry["sha256"]:
        raise CheckpointError(f"{file} is damaged: its sha256 is not the one in manifest.json")


def sha256(file: pathlib.Path) -> str:
    """Hash of a file, read in pieces."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(file: pathlib.Path) -> Any:
    """A JSON file of a checkpoint directory.

    Raises:
        CheckpointError: it is missing or no JSON.
    """
    try:
        return json.loads(file.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{file} is missing: expected a checkpoint directory with config.json, "
            "manifest.json and params/"
        ) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} is damaged: expected JSON ({error})") from error
