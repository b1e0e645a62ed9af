"""What a user's file or directory of weights is, told by its content and not by its name.

    file            container
    0x?? ... {      safetensors
    PK, */code/     TorchScript archive (OpenAI's CLIP)
    PK              PyTorch zip file
    0x80            old PyTorch pickle

A directory holds one model, maybe in several of these, whole or in shards with an index, beside
config files and the tokenizer's.
"""

import dataclasses
import json
import pathlib
import re
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

from zsas_jax.convert.tensors import is_safetensors, open_safetensors
from zsas_jax.convert.torch_archive import is_torchscript, open_state_dict, open_torchscript
from zsas_jax.errors import WeightConversionError

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
# Files of training runs beside the weights; no weights of a network.
NO_WEIGHTS = re.compile(r"(training_args|optimizer|scheduler|rng_state|scaler).*")
SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.[a-z]+)")
# Where a directory has the same weights several times: what is read first.
PREFERENCE = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)


@dataclasses.dataclass(frozen=True)
class Weights:
    """The tensors of one model: of one file, or of shards."""

    files: tuple[pathlib.Path, ...]
    container: str
    tensors: Mapping[str, Any]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape."""
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}


@dataclasses.dataclass(frozen=True)
class Folder:
    """The config files beside weights, transformers' two and open_clip's; None where absent."""

    path: pathlib.Path
    transformers: dict[str, Any] | None = None
    open_clip: dict[str, Any] | None = None
    preprocessor: dict[str, Any] | None = None


def open_weights(path: pathlib.Path) -> list[Weights]:
    """The models found at `path`: one for a file, candidates in order of preference otherwise.

    Raises:
        WeightConversionError: nothing there, no weights, a damaged or refused file.
    """
    if path.is_dir():
        return _open_directory(path)
    if not path.exists():
        raise WeightConversionError(
            f"{path} was not found: expected a file or a directory of weights"
        )
    if path.name.endswith(".index.json"):
        return [_open_shards(path)]
    return [_open_file(path)]


def read_folder(path: pathlib.Path) -> Folder:
    """The config files of the directory `path`, or of the one that the file `path` is in."""
    directory = path if path.is_dir() else path.parent
    config = _read_json(directory / "config.json")
    if config is not None and "model_type" not in config and "vision_config" not in config:
        config = None  # of some other program
    return Folder(
        directory,
        config,
        _read_json(directory / "open_clip_config.json"),
        _read_json(directory / "preprocessor_config.json"),
    )


def _open_file(file: pathlib.Path) -> Weights:
    try:
        with file.open("rb") as stream:
            start = stream.read(64)
    except OSError as error:
        raise WeightConversionError(f"{file} cannot be read: {error.strerror}") from error
    if is_safetensors(start):
        return Weights((file,), "safetensors", open_safetensors(file))
    if start.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, OSError) as error:
            raise WeightConversionError(
                f"{file} is truncated or damaged: it starts as a PyTorch zip file does, but lacks "
                "its end"
            ) from error
        if is_torchscript(names):
            return Weights((file,), "TorchScript archive", open_torchscript(file))
        return Weights((file,), "PyTorch zip file", open_state_dict(file, zipped=True))
    if start.startswith(b"\x80"):
        return Weights((file,), "old PyTorch pickle", open_state_dict(file, zipped=False))
    raise WeightConversionError(
        f"{file} is {_describe(start)}: expected safetensors or a PyTorch file"
    )


def _describe(start: bytes) -> str:
    """What a file that holds no weights is, so that a failed download is recognised."""
    if not start:
        return "empty"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file it points to"
    if start.lstrip()[:1] == b"<":
        return "a web page, not weights"
    return f"of an unknown kind (it starts with {start[:8].hex(' ')})"


def _open_shards(index: pathlib.Path) -> Weights:
    stored = _read_json(index)
    places = stored.get("weight_map") if isinstance(stored, dict) else None
    named = isinstance(places, dict) and all(isinstance(name, str) for name in places.values())
    if not isinstance(places, dict) or not places or not named:
        raise WeightConversionError(f"{index} is damaged: expected an object with a weight_map")
    files = [index.parent / pathlib.PurePath(name).name for name in sorted(set(places.values()))]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise WeightConversionError(
            f"{index} speaks of {len(files)} shards, of which {len(missing)} are missing: "
            f"{', '.join(missing)}"
        )
    tensors: dict[str, Any] = {}
    containers = set()
    for file in files:
        shard = _open_file(file)
        containers.add(shard.container)
        twice = sorted(tensors.keys() & shard.tensors.keys())
        if twice:
            raise WeightConversionError(f"{file} holds {twice[0]} once more than another shard")
        tensors.update(shard.tensors)
    lost = sorted(places.keys() - tensors.keys())
    if lost:
        raise WeightConversionError(
            f"{index} promises {len(lost)} tensors that its shards lack: {', '.join(lost[:5])}"
        )
    return Weights((index, *files), f"{' and '.join(sorted(containers))} in shards", tensors)


def _open_directory(directory: pathlib.Path) -> list[Weights]:
    names = sorted(file.name for file in directory.iterdir() if file.is_file())
    candidates = {
        name: directory / name
        for name in names
        if name.endswith(SUFFIXES) and not NO_WEIGHTS.fullmatch(name)
    }
    for name in names:
        if name.endswith(".index.json"):
            whole = name.removesuffix(".index.json")
            shards = [n for n in candidates if (m := SHARD.fullmatch(n)) and m[1] + m[4] == whole]
            for shard in shards:
                del candidates[shard]
            if shards:
                candidates.setdefault(whole, directory / name)
    orphan = next((name for name in candidates if SHARD.fullmatch(name)), None)
    if orphan:
        raise WeightConversionError(f"{directory} has the shard {orphan} without its index file")
    # The same weights once more as a pickle need not be opened at all.
    for safe, pickled in (PREFERENCE[0::2], PREFERENCE[1::2]):
        if safe in candidates:
            candidates.pop(pickled, None)
    if not candidates:
        raise WeightConversionError(
            f"{directory} holds no weights: expected a file {' or '.join(SUFFIXES)}"
        )
    rank = {name: index for index, name in enumerate(PREFERENCE)}
    order = sorted(candidates, key=lambda name: (rank.get(name, len(rank)), name))
    return [weights for name in order for weights in open_weights(candidates[name])]


def _read_json(file: pathlib.Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise WeightConversionError(f"{file} is damaged: expected JSON ({error})") from error
    if not isinstance(content, dict):
        raise WeightConversionError(f"{file} is damaged: expected a JSON object")
    return content


def describe_names(names: Iterable[str]) -> str:
    """The first few of many names, for an error sentence."""
    listed = sorted(names)
    return ", ".join(listed[:4]) + (", ..." if len(listed) > 4 else "")
