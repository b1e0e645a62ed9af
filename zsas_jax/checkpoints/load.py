"""Opening checkpoint directories."""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import jax

from zsas_jax.checkpoints.arrays import restore_arrays
from zsas_jax.checkpoints.bundle import Bundle, Compute, Config, Verdict
from zsas_jax.checkpoints.manifest import check_files, read_json
from zsas_jax.checkpoints.paths import checkpoint_path
from zsas_jax.config import from_dict, suggestion
from zsas_jax.errors import CheckpointError
from zsas_jax.networks import NETWORKS, abstract_networks

FORMAT = 2


def load(
    name: str | os.PathLike[str] = "tiny",
    *,
    dtype: jax.typing.DTypeLike | None = None,
    mesh: jax.sharding.Mesh | None = None,
    networks: Collection[str] | None = None,
) -> Bundle:
    """Opens a checkpoint directory, or a bundled or downloaded one by name.

    Args:
        name: a directory, "tiny", or hub names that `zsas weights download` fetched.
        dtype: dtype of the parameters in memory; None keeps the stored one.
        mesh: devices over which the arrays are laid out as they are read, see
            `zsas_jax.checkpoints.sharding`; None puts them on the first device.
        networks: names of those to read, of all that are there; None reads all.

    Raises:
        CheckpointError: a file is missing, damaged or of another format; it names the file.
    """
    directory = checkpoint_path(name)
    config = read_config(directory)
    files = check_files(directory)
    places = {
        network: place
        for network, place in tokenizer_places(config.networks).items()
        if networks is None or network in networks
    }
    if networks is not None:
        wanted = {key: value for key, value in config.networks.items() if key in networks}
        config = dataclasses.replace(config, networks=wanted)
    model = restore_arrays(directory, abstract_networks(config.networks), dtype, mesh)
    tokenizers = {}
    for network, place in places.items():
        kind = NETWORKS[network].tokenizer
        assert kind is not None
        prefix = f"{place}/" if place else ""
        if any(all(prefix + file in files for file in names) for names in kind.names):
            tokenizers[network] = kind.load(directory / place, config.networks[network])
    return Bundle(model, tokenizers, config)


def read_config(name: str | os.PathLike[str]) -> Config:
    """The config of a checkpoint directory, with no weights read.

    Raises:
        CheckpointError: a missing, damaged or foreign config.json. ConfigError: a field of it that
            is unknown or outside its range.
    """
    file = checkpoint_path(name) / "config.json"
    stored = read_json(file)
    if not isinstance(stored, dict) or "format" not in stored:
        raise CheckpointError(f"{file} is damaged: expected an object with the field format")
    if stored["format"] != FORMAT:
        raise CheckpointError(
            f"{file} has format {stored['format']!r}, written by zsas_jax "
            f"{stored.get('zsas_jax', 'of an early version')}: expected format {FORMAT}, which "
            "this version reads"
        )
    networks = _table(file, stored, "networks")
    for network in networks:
        if network not in NETWORKS:
            raise CheckpointError(
                f"{file} describes a network {network!r}, which this version of zsas_jax lacks"
                f"{suggestion(network, NETWORKS)}"
            )
    return Config(
        networks={
            network: from_dict(NETWORKS[network].config, networks[network], f"networks.{network}")
            for network in sorted(networks, key=list(NETWORKS).index)
        },
        method=str(stored.get("method", "")),
        methods=_table(file, stored, "methods"),
        verdicts={
            method: from_dict(Verdict, verdict, f"verdicts.{method}")
            for method, verdict in _table(file, stored, "verdicts").items()
        },
        compute=from_dict(Compute, stored.get("compute", {}), "compute"),
    )


def tokenizer_places(networks: Mapping[str, Any]) -> dict[str, str]:
    """Network that reads text -> folder of its tokenizer; the first one's is the directory."""
    reading = [name for name in NETWORKS if name in networks and NETWORKS[name].tokenizer]
    return {name: name if index else "" for index, name in enumerate(reading)}


def _table(file: pathlib.Path, stored: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = stored.get(name, {})
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} is damaged: {name} is {value!r}, expected an object")
    return value
