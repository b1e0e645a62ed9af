"""Which data a checkpoint was trained on, so that nobody takes a score on it for zero-shot."""

import json
import os

from zsas_jax.checkpoints.paths import checkpoint_path
from zsas_jax.errors import CheckpointError

FILE = "provenance.json"


def trained_on(*checkpoints: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the data sets that checkpoint directories' networks were trained on, if known."""
    return tuple(dict.fromkeys(name for path in checkpoints for name in _trained_on(path)))


def _trained_on(checkpoint: str | os.PathLike[str]) -> tuple[str, ...]:
    try:
        stored = json.loads((checkpoint_path(checkpoint) / FILE).read_text("utf-8"))
        return tuple(str(name) for name in stored.get("trained_on", ()))
    except (OSError, ValueError, AttributeError, TypeError, CheckpointError):
        return ()
