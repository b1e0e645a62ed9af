"""One checkpoint whose weights are the mean of several ("model soup", Wortsman et al. 2022)."""

import os
import pathlib
from collections.abc import Sequence

import jax
from flax import nnx

from zsas_jax.checkpoints.checkpoint import (
    NETWORKS,
    Bundle,
    checkpoint_path,
    load,
    read_config,
    save,
)
from zsas_jax.checkpoints.provenance import trained_on
from zsas_jax.errors import CheckpointError, ConfigError


def average(
    checkpoints: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> pathlib.Path:
    """Saves the mean of checkpoints of one family: runs of which one began from the other.

    Settings and tokenizer are the last one's. Networks that were trained apart have nothing in
    common that a mean would keep.

    Raises:
        ConfigError: fewer than two checkpoints. CheckpointError: one cannot be read, has other
            networks or sizes, or another vocabulary.
    """
    if len(checkpoints) < 2:
        raise ConfigError(f"{len(checkpoints)} checkpoint is named: expected at least two")
    _require_same_networks(checkpoints)
    bundles = [load(name) for name in checkpoints]
    _require_same_vocabulary(checkpoints, bundles)
    graphdef, _, others = nnx.split(bundles[-1].model, nnx.Param, ...)
    trained = [nnx.state(bundle.model, nnx.Param) for bundle in bundles]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *trained)
    provenance = {
        "trained_on": list(trained_on(*checkpoints)),
        "average_of": ["/".join(checkpoint_path(name).parts[-2:]) for name in checkpoints],
    }
    result = bundles[-1]._replace(model=nnx.merge(graphdef, mean, others))
    return save(output, result, overwrite=overwrite, provenance=provenance)


def _require_same_networks(checkpoints: Sequence[str | os.PathLike[str]]) -> None:
    """By their configs alone, before weights are read."""
    *others, last = checkpoints
    expected = read_config(last)
    for name in others:
        config = read_config(name)
        for network in NETWORKS:
            if getattr(config, network) != getattr(expected, network):
                raise CheckpointError(
                    f"{name} has another {network} than {last}: expected the same networks of the "
                    "same sizes"
                )


def _require_same_vocabulary(
    checkpoints: Sequence[str | os.PathLike[str]], bundles: Sequence[Bundle]
) -> None:
    words = [bundle.tokenizer and bundle.tokenizer.backend.to_str() for bundle in bundles]
    for name, vocabulary in zip(checkpoints, words, strict=True):
        if vocabulary != words[-1]:
            raise CheckpointError(f"{name} has another vocabulary than {checkpoints[-1]}")
