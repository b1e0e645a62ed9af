"""One checkpoint whose weights are the mean of several ("model soup", Wortsman et al. 2022)."""

import os
import pathlib
from collections.abc import Sequence

import jax
from flax import nnx

from zsas_jax.errors import CheckpointError, ConfigError
from zsas_jax.training.provenance import trained_on
from zsas_jax.weights.checkpoint import NETWORKS, Bundle, checkpoint_path, load, save


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
    bundles = [load(name) for name in checkpoints]
    for name, bundle in zip(checkpoints, bundles, strict=True):
        _check_alike(name, bundle, checkpoints[-1], bundles[-1])
    graphdef, _, others = nnx.split(bundles[-1].model, nnx.Param, ...)
    trained = [nnx.state(bundle.model, nnx.Param) for bundle in bundles]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *trained)
    names = dict.fromkeys(name for path in checkpoints for name in trained_on(path))
    provenance = {
        "trained_on": list(names),
        "average_of": ["/".join(checkpoint_path(name).parts[-2:]) for name in checkpoints],
    }
    result = bundles[-1]._replace(model=nnx.merge(graphdef, mean, others))
    return save(output, result, overwrite=overwrite, provenance=provenance)


def _check_alike(
    name: str | os.PathLike[str],
    bundle: Bundle,
    last_name: str | os.PathLike[str],
    last: Bundle,
) -> None:
    for network in NETWORKS:
        ours, theirs = getattr(bundle.config, network), getattr(last.config, network)
        if ours != theirs:
            raise CheckpointError(
                f"{name} has another {network} than {last_name}: expected the same networks of the "
                "same sizes"
            )
    words = [part.tokenizer and part.tokenizer.backend.to_str() for part in (bundle, last)]
    if words[0] != words[1]:
        raise CheckpointError(f"{name} has another vocabulary than {last_name}")
