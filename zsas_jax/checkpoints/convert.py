"""From the files of a user to one checkpoint directory."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from zsas_jax.checkpoints.bundle import Bundle, Config, join_configs
from zsas_jax.checkpoints.identify import Options, Source, identify
from zsas_jax.checkpoints.load import load, read_config
from zsas_jax.checkpoints.manifest import FILE as MANIFEST
from zsas_jax.checkpoints.paths import checkpoint_path, identity
from zsas_jax.checkpoints.provenance import trained_on
from zsas_jax.checkpoints.save import require_space, save, version
from zsas_jax.config import suggestion
from zsas_jax.convert.files import open_weights, read_folder
from zsas_jax.convert.rules import Track, silent
from zsas_jax.errors import CheckpointError, ConfigError, WeightConversionError
from zsas_jax.files import sha256
from zsas_jax.networks import NETWORKS, Networks
from zsas_jax.networks.base import abstract_network, check_networks

DTYPES = ("float32", "bfloat16")
PathLike = str | os.PathLike[str]


def convert_checkpoint(
    output: PathLike,
    sources: Mapping[str, PathLike],
    *,
    tokenizer: PathLike | None = None,
    options: Options | None = None,
    dtype: str = "float32",
    overwrite: bool = False,
    origin: Mapping[str, Any] | None = None,
    track: Track = silent,
) -> pathlib.Path:
    """Writes a checkpoint directory from weights in any published layout.

    Args:
        output: the new directory.
        sources: network -> file or directory of its weights, or a checkpoint directory whose
            network, settings of methods and thresholds are taken over.
        tokenizer: of the network that reads text, where it does not lie beside the weights.
        options: network -> option -> value, where the files do not tell it (`Network.options`).
        dtype: float32 or bfloat16, of the stored parameters.
        overwrite: replace `output`.
        origin: network -> what provenance.json says beside its files (hub name, revision).
        track: wraps sequences of work, to show progress.

    Raises:
        WeightConversionError: a source that is not what it should be, with all that is wrong.
        CheckpointError: the output or a checkpoint cannot be written or read.
        ConfigError: networks that do not fit each other, an unknown name, option or dtype.
    """
    output, options = pathlib.Path(output), options or {}
    _check_arguments(sources, options, dtype)
    if output.exists() and not overwrite:
        raise CheckpointError(f"{output} exists already: expected a new directory")
    ours = {name: path for name, path in sources.items() if _is_checkpoint(path)}
    theirs = {
        name: open_source(path, name, options) for name, path in sources.items() if name not in ours
    }
    config = _config(theirs, ours)
    check_networks(config.networks)
    tokenizers = _tokenizers(theirs, tokenizer)
    _check_room(output, theirs, dtype)
    provenance: dict[str, Any] = {"converter": version(), "dtype": dtype, "sources": {}}
    networks: dict[str, Any] = {}
    seen: list[str] = []
    for name in (name for name in NETWORKS if name in sources):
        if name in theirs:
            about = describe(theirs[name], track) | dict((origin or {}).get(name, {}))
            networks[name] = theirs[name].read(jnp.dtype(dtype), track)
        else:
            found = load(ours[name], dtype=jnp.dtype(dtype), networks=(name,))
            networks[name] = getattr(found.model, name)
            tokenizers |= found.tokenizers
            seen += trained_on(ours[name])
            about = {"checkpoint": identity(ours[name]), "trained_on": list(trained_on(ours[name]))}
        provenance["sources"][name] = about
    if seen:
        provenance["trained_on"] = list(dict.fromkeys(seen))
    bundle = Bundle(Networks(**networks), tokenizers, config)
    return save(output, bundle, overwrite=overwrite, provenance=provenance)


def open_source(
    path: PathLike, network: str | None = None, options: Options | None = None
) -> Source:
    """Opens a file or directory of weights and tells what it is; no numbers are read.

    Raises:
        WeightConversionError: it is no known network, or not the `network` asked for.
    """
    path = pathlib.Path(path)
    if _is_checkpoint(path):
        raise WeightConversionError(
            f"{path} is a checkpoint of zsas_jax already: expected weights of PyTorch"
        )
    source = identify(open_weights(path), read_folder(path), options)
    found = source.network.name
    if network is not None and found != network:
        raise WeightConversionError(
            f"{path} holds a {found} (layout {source.layout.name}), not a {network}: give it as "
            f"--{found.replace('_', '-')}"
        )
    return source


def describe(source: Source, track: Track = silent) -> dict[str, Any]:
    """What provenance.json says of a source: files with hashes, container and layout."""
    files = list(source.weights.files)
    return {
        "container": source.weights.container,
        "layout": source.layout.name,
        "files": [
            {"name": file.name, "bytes": file.stat().st_size, "sha256": sha256(file)}
            for file in track(files, "hashing")
        ],
    }


def _check_arguments(sources: Mapping[str, PathLike], options: Options, dtype: str) -> None:
    if dtype not in DTYPES:
        raise ConfigError(f"dtype is {dtype!r}{suggestion(dtype, DTYPES)}")
    if not sources:
        raise ConfigError("nothing to convert: expected weights of at least one network")
    for name in (*sources, *options):
        if name not in NETWORKS:
            raise ConfigError(f"network {name!r} is not known{suggestion(name, NETWORKS)}")
    for name, given in options.items():
        for option, value in given.items():
            known = NETWORKS[name].options
            if option not in known:
                raise ConfigError(f"{name} has no option {option!r}{suggestion(option, known)}")
            if value not in known[option].choices:
                raise ConfigError(
                    f"{option} is {value!r}{suggestion(value, known[option].choices)}"
                )


def _is_checkpoint(path: PathLike) -> bool:
    return (pathlib.Path(path) / MANIFEST).is_file()


def _config(theirs: Mapping[str, Source], ours: Mapping[str, PathLike]) -> Config:
    """Sizes of all networks; settings and thresholds of the checkpoints among the sources."""
    config = Config()
    for name, path in ours.items():
        stored = read_config(path)
        if name not in stored.networks:
            raise CheckpointError(
                f"{checkpoint_path(path)} has no {name}: expected a checkpoint with one"
            )
        alone = dataclasses.replace(stored, networks={name: stored.networks[name]})
        config = join_configs(config, alone)
    sizes = {**config.networks, **{name: source.config for name, source in theirs.items()}}
    ordered = {name: sizes[name] for name in NETWORKS if name in sizes}
    return dataclasses.replace(config, networks=ordered)


def _tokenizers(theirs: Mapping[str, Source], given: PathLike | None) -> dict[str, Any]:
    found = {}
    for name, source in theirs.items():
        kind = source.network.tokenizer
        if kind is None:
            continue
        place = source.folder.path if given is None else pathlib.Path(given)
        words = kind.find(place, source.config)
        if words is None and given is not None:
            expected = " or ".join(" and ".join(names) for names in kind.names)
            raise CheckpointError(f"{place} has no tokenizer: expected {expected}")
        if words is not None:
            found[name] = words
    return found


def _check_room(output: pathlib.Path, theirs: Mapping[str, Source], dtype: str) -> None:
    numbers = sum(
        leaf.size
        for source in theirs.values()
        for leaf in jax.tree.leaves(abstract_network(source.network, source.config))
    )
    existing = next(place for place in output.absolute().parents if place.is_dir())
    require_space(existing, jnp.dtype(dtype).itemsize * numbers)
