"""Which data a checkpoint was trained on, so that nobody takes a score on it for zero-shot."""

import json
import os
import pathlib
from typing import Any

from zsas_jax.training.config import TrainConfig

FILE = "provenance.json"


def describe(config: TrainConfig, dataset: str) -> dict[str, Any]:
    """What a run saves beside its result: the data sets of this run and of its `init`."""
    names = [dataset]
    for directory in config.init:
        names += [name for name in trained_on(directory) if name not in names]
    return {
        "trained_on": names,
        "task": config.task,
        "categories": list(config.auxiliary.categories),
        "init": [pathlib.Path(directory).name for directory in config.init],
    }


def trained_on(checkpoint: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the data sets that a checkpoint directory's networks were trained on, if known."""
    from zsas_jax.weights.checkpoint import checkpoint_path

    try:
        stored = json.loads((checkpoint_path(checkpoint) / FILE).read_text())
        return tuple(str(name) for name in stored.get("trained_on", ()))
    except (OSError, ValueError, AttributeError, TypeError):
        return ()
