"""One checkpoint whose weights are the mean of several ("model soup", Wortsman et al. 2022)."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from zsas_jax.checkpoints.bundle import Bundle
from zsas_jax.checkpoints.load import load, read_config
from zsas_jax.checkpoints.paths import identity
from zsas_jax.checkpoints.provenance import trained_on
from zsas_jax.checkpoints.save import save
from zsas_jax.errors import CheckpointError, ConfigError


def average(
    checkpoints: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> pathlib.Path:
    """Saves the mean of checkpoints of one family: runs of which one began from the other.

    Settings and tokenizers are the last one's. Networks that were trained apart have nothing in
    common that a mean would keep.

    Raises:
        ConfigError: fewer than two checkpoints. CheckpointError: one cannot be read, has other
            networks or sizes, or another vocabulary.
    """
    if len(checkpoints) < 2:
        raise ConfigError(f"{len(checkpoints)} checkpoint is named: expected at least two")
    last = checkpoints[-1]
    expected = read_config(last).networks
    for name in checkpoints[:-1]:
        found = read_config(name).networks
        different = [one for one in {**expected, **found} if found.get(one) != expected.get(one)]
        if different:
            raise CheckpointError(
                f"{name} has another {different[0]} than {last}: expected the same networks of the "
                "same sizes"
            )
    bundles = [load(name) for name in checkpoints]
    for name, bundle in zip(checkpoints, bundles, strict=True):
        if _words(bundle) != _words(bundles[-1]):
            raise CheckpointError(f"{name} has another vocabulary than {last}: expected the same")
    graphdef, _, others = nnx.split(bundles[-1].model, nnx.Param, ...)
    trained = [nnx.state(bundle.model, nnx.Param) for bundle in bundles]
    # In NumPy: on devices every shape would be a program to compile.
    mean = jax.tree.map(lambda *leaves: sum(map(np.asarray, leaves)) / len(leaves), *trained)
    provenance = {
        "trained_on": list(trained_on(*checkpoints)),
        "average_of": [identity(name) for name in checkpoints],
    }
    result = bundles[-1]._replace(model=nnx.merge(graphdef, mean, others))
    return save(output, result, overwrite=overwrite, provenance=provenance)


def _words(bundle: Bundle) -> dict[str, Any]:
    return {name: words.backend.to_str() for name, words in bundle.tokenizers.items()}
