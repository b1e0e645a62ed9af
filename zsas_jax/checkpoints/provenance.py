"""Which data a checkpoint was trained on, so that nobody takes a score on it for zero-shot."""

import json
import os
import pathlib
from typing import Any

from zsas_jax.training.config import TrainConfig

FILE = "provenance.json"


def describe(config: TrainConfig, dataset: str) -> dict[str, Any]:
    """What a run saves beside its result: the data sets of this run and of its `init`."""
    return {
        "trained_on": list(dict.fromkeys([dataset, *trained_on(*config.init)])),
        "task": config.task,
        "categories": list(config.auxiliary.categories),
        "init": [pathlib.Path(directory).name for directory in config.init],
    }


def trained_on(*checkpoints: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the data sets that checkpoint directories' networks were trained on, if known."""
    return tuple(dict.fromkeys(name for path in checkpoints for name in _trained_on(path)))


def _trained_on(checkpoint: str | os.PathLike[str]) -> tuple[str, ...]:
    from zsas_jax.checkpoints.checkpoint import checkpoint_path

    try:
        stored = json.loads((checkpoint_path(checkpoint) / FILE).read_text())
        return tuple(str(name) for name in stored.get("trained_on", ()))
    except (OSError, ValueError, AttributeError, TypeError):
        return ()
