"""Checkpoint directories: Orbax parameters, config, tokenizer and a manifest of hashes.

    config.json      format version and every knob of the networks and of the pipeline
    params/          Orbax, one array per leaf of the model
    tokenizer.json   the text tokenizer (absent where there is no CLIP)
    manifest.json    size and sha256 of every other file

A directory is written beside its final place and renamed, so a half-written one never loads.
"""

import hashlib
import json
import os
import pathlib
import shutil
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from flax import nnx

from zsas_jax.clip.tokenizer import Tokenizer, load_tokenizer
from zsas_jax.config import Config
from zsas_jax.errors import CheckpointError
from zsas_jax.model import Model, abstract_model

FORMAT = 1
# Above this size only sizes are checked at load time: hashing gigabytes costs more than reading.
HASH_LIMIT = 64 * 2**20


class Bundle(NamedTuple):
    """What `load` returns: the networks, the text tokenizer and every setting."""

    model: Model
    tokenizer: Tokenizer | None
    config: Config


def checkpoint_path(name: str | os.PathLike[str]) -> pathlib.Path:
    """A directory as given, or a bundled checkpoint by name ("tiny"), in a wheel too."""
    path = pathlib.Path(name)
    if path.is_dir():
        return path
    package = pathlib.Path(__file__).resolve().parents[1]
    if str(name) == path.name:
        for root in (package.parent / "checkpoints", package / "_checkpoints"):
            if (root / path.name).is_dir():
                return root / path.name
    raise CheckpointError(
        f"checkpoint {str(name)!r} was not found: expected a directory or the bundled name 'tiny'"
    )


def save(path: str | os.PathLike[str], bundle: Bundle, *, overwrite: bool = False) -> pathlib.Path:
    """Writes a checkpoint directory atomically.

    Raises:
        CheckpointError: the directory exists and `overwrite` is False.
    """
    path = pathlib.Path(path).absolute()
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} exists already: expected a new directory")
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(part / "params", nnx.to_pure_dict(nnx.state(bundle.model)))
    # Orbax notes the absolute path here, which would tell where the checkpoint was made.
    for mark in part.rglob("commit_success.txt"):
        mark.write_text("complete\n")
    if bundle.tokenizer is not None:
        bundle.tokenizer.save(part)
    text = json.dumps({"format": FORMAT, "config": bundle.config.to_dict()}, indent=1)
    (part / "config.json").write_text(text + "\n")
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


def write_manifest(directory: pathlib.Path) -> None:
    """Records size and sha256 of every file but documents and the manifest itself."""
    files = {}
    for file in sorted(directory.rglob("*")):
        if file.is_file() and file.name != "manifest.json" and file.suffix != ".md":
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            name = file.relative_to(directory).as_posix()
            files[name] = {"bytes": file.stat().st_size, "sha256": digest}
    (directory / "manifest.json").write_text(json.dumps(files, indent=1) + "\n")


def read_config(path: str | os.PathLike[str]) -> Config:
    """The config of a checkpoint directory, with no weights read."""
    directory = checkpoint_path(path)
    stored = _read_json(directory / "config.json")
    if not isinstance(stored, dict) or not isinstance(stored.get("config"), dict):
        raise CheckpointError(
            f"{directory / 'config.json'} is damaged: expected an object with format and config"
        )
    if stored.get("format") != FORMAT:
        raise CheckpointError(
            f"{directory / 'config.json'} has format {stored.get('format')!r}: "
            f"this version of zsas_jax reads format {FORMAT}"
        )
    return Config.from_dict(stored["config"])


def load(
    name: str | os.PathLike[str] = "tiny", *, dtype: jax.typing.DTypeLike | None = None
) -> Bundle:
    """Opens a checkpoint directory, or a bundled one by name.

    Args:
        name: a directory, or "tiny".
        dtype: dtype of the parameters in memory; None keeps the stored one.

    Raises:
        CheckpointError: a file is missing, damaged or of another format; it names the file.
    """
    directory = checkpoint_path(name)
    config = read_config(directory)
    _check_files(directory)
    model = abstract_model(config)
    graphdef, params, buffers = nnx.split(model, nnx.Param, ...)
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def target(leaf, to=None):
        return jax.ShapeDtypeStruct(leaf.shape, to or leaf.dtype, sharding=sharding)

    params = jax.tree.map(lambda leaf: target(leaf, dtype), params)
    state = nnx.merge_state(params, jax.tree.map(target, buffers))
    restored = _restore(directory.absolute() / "params", nnx.to_pure_dict(state))
    nnx.replace_by_pure_dict(state, restored)
    tokenizer = load_tokenizer(directory, config.clip.context_length) if config.clip else None
    return Bundle(nnx.merge(graphdef, state), tokenizer, config)


def _restore(params: pathlib.Path, target: Any) -> Any:
    """The stored arrays, after a look at their names and shapes: Orbax reads all at once, and
    would report every array that was on its way when one does not fit.
    """

    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        return {
            ".".join(str(getattr(key, "key", key)) for key in path): tuple(leaf.shape)
            for path, leaf in leaves
        }

    described = f"{params} does not hold the parameters that its config.json describes"
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            found = shapes(checkpointer.metadata(params).item_metadata.tree)  # pyright: ignore
            expected = shapes(target)
            different = [name for name in expected if found.get(name) != expected[name]]
            different += [name for name in found if name not in expected]
            if different:
                name = different[0]
                raise CheckpointError(
                    f"{described}: {len(different)} differ, first {name}, found "
                    f"{found.get(name)}, expected {expected.get(name)}"
                )
            return checkpointer.restore(params, target)
    except (ValueError, KeyError, OSError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{described}: {str(error).splitlines()[0][:200]}") from error


def _check_files(directory: pathlib.Path) -> None:
    files = _read_json(directory / "manifest.json")
    hash_all = sum(entry["bytes"] for entry in files.values()) <= HASH_LIMIT
    for name, entry in files.items():
        file = directory / name
        if not file.is_file():
            raise CheckpointError(f"{file} is missing: expected a file of {entry['bytes']} bytes")
        size = file.stat().st_size
        if size != entry["bytes"]:
            raise CheckpointError(
                f"{file} is damaged: it has {size} bytes, expected {entry['bytes']}"
            )
        if hash_all and hashlib.sha256(file.read_bytes()).hexdigest() != entry["sha256"]:
            raise CheckpointError(f"{file} is damaged: its sha256 is not the one in manifest.json")


def _read_json(file: pathlib.Path) -> Any:
    try:
        return json.loads(file.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{file} is missing: expected a checkpoint directory with config.json, "
            "manifest.json and params/"
        ) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} is damaged: expected JSON ({error})") from error
