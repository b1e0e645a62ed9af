"""What a file of weights or a checkpoint directory is, and whether it is sound."""

import math
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from zsas_jax.checkpoints.arrays import stored_arrays
from zsas_jax.checkpoints.convert import describe, open_source
from zsas_jax.checkpoints.identify import Source
from zsas_jax.checkpoints.load import load, read_config, tokenizer_places
from zsas_jax.checkpoints.manifest import FILE as MANIFEST
from zsas_jax.checkpoints.manifest import check_file, listed_files, read_json, read_manifest
from zsas_jax.checkpoints.paths import checkpoint_path
from zsas_jax.checkpoints.provenance import FILE as PROVENANCE
from zsas_jax.convert.rules import Track, silent
from zsas_jax.convert.tensors import parameter_bytes
from zsas_jax.errors import CheckpointError
from zsas_jax.networks import NETWORKS


def inspect(name: str | os.PathLike[str], track: Track = silent) -> list[str]:
    """Lines that say what a source of weights or a checkpoint directory is.

    Raises:
        WeightConversionError, CheckpointError: neither, or damaged.
    """
    path = pathlib.Path(name)
    if path.exists() and not (path / MANIFEST).is_file():
        return list(_describe_source(open_source(path), track))
    return list(_describe_checkpoint(checkpoint_path(name)))


def verify(name: str | os.PathLike[str], track: Track = silent) -> list[str]:
    """Checks hashes, shapes and finiteness of a checkpoint directory; returns what was checked.

    Raises:
        CheckpointError: the first thing that is wrong.
    """
    directory = checkpoint_path(name)
    config = read_config(directory)
    files = read_manifest(directory)
    for file, entry in track(list(files.items()), "hashing"):
        check_file(directory / file, entry, hashed=True)
    there = (file.relative_to(directory).as_posix() for file in listed_files(directory))
    extra = [file for file in there if file not in files]
    if extra:
        raise CheckpointError(f"{directory / extra[0]} is not in {MANIFEST}: expected no such file")
    arrays = 0
    for network in track(list(config.networks), "reading"):
        model = load(directory, networks=(network,)).model
        for key, leaf in jax.tree_util.tree_leaves_with_path(model):
            arrays += 1
            if not np.isfinite(np.asarray(leaf)).all():
                where = jax.tree_util.keystr(key, simple=True, separator=".")
                raise CheckpointError(f"{directory} holds numbers that are not finite in {where}")
    size = sum(entry["bytes"] for entry in files.values())
    names = ", ".join(config.networks) or "no network"
    return [
        f"{directory}: {len(files)} files of {_size(size)} have their hashes",
        f"{arrays} arrays of {names} have their shapes and are finite",
    ]


def _describe_source(source: Source, track: Track) -> Iterator[str]:
    tensors = source.weights.tensors.values()
    dtypes = sorted({str(np.dtype(tensor.dtype)) for tensor in tensors})
    yield f"{source.network.name} in layout {source.layout.name}, {source.weights.container}"
    yield f"{len(tensors)} tensors, {_size(parameter_bytes(tensors))}, {', '.join(dtypes)}"
    yield f"sizes: {source.config}"
    for file in describe(source, track)["files"]:
        yield f"{file['name']}: {file['bytes']} bytes, sha256 {file['sha256']}"
    problems = source.problems()
    yield (
        f"{problems} names or shapes do not fit: converting it names them"
        if problems
        else "all names and shapes fit"
    )
    if source.network.tokenizer is not None:
        found = source.network.tokenizer.find(source.folder.path, source.config)
        yield "tokenizer: found" if found else "tokenizer: missing (convert with --tokenizer)"


def _describe_checkpoint(directory: pathlib.Path) -> Iterator[str]:
    config = read_config(directory)
    settings = read_json(directory / "config.json")
    files = read_manifest(directory)
    writer = settings.get("zsas_jax", "an early version")
    yield f"checkpoint {directory} of format {settings['format']}, written by zsas_jax {writer}"
    yield from _describe_provenance(directory)
    for name, entry in files.items():
        there = (directory / name).is_file()
        yield f"{name}: {entry['bytes']} bytes, sha256 {entry['sha256']}" + (
            "" if there else ", MISSING"
        )
    for network, place in tokenizer_places(config.networks).items():
        kind = NETWORKS[network].tokenizer
        assert kind is not None
        prefix = f"{place}/" if place else ""
        found = any(all(prefix + name in files for name in names) for names in kind.names)
        yield f"tokenizer of {network}: {'there' if found else 'missing'}"
    try:
        arrays = stored_arrays(directory)
    except CheckpointError as error:
        yield f"DAMAGED: {error}"
        return
    for network in NETWORKS:
        if network not in config.networks:
            yield f"{network}: missing"
            continue
        own = [found for name, found in arrays.items() if name.startswith(network + ".")]
        dtypes = ", ".join(sorted({dtype for _, dtype in own}))
        count = sum(math.prod(shape) for shape, _ in own)
        sizes = config.networks[network]
        yield f"{network}: {count / 1e6:.1f} million numbers, {len(own)} arrays, {dtypes}: {sizes}"


def _describe_provenance(directory: pathlib.Path) -> Iterator[str]:
    file = directory / PROVENANCE
    if not file.is_file():
        return
    provenance: Mapping[str, Any] = read_json(file)
    if provenance.get("trained_on"):
        yield f"trained on {', '.join(provenance['trained_on'])}"
    if "average_of" in provenance:
        yield f"the mean of {' and '.join(provenance['average_of'])}"
    if "sources" in provenance:
        yield f"converted as {provenance['dtype']} by {provenance['converter']}"
        for network, source in provenance["sources"].items():
            yield f"{network} from {source}"


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"
