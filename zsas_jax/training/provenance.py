"""What a training run saves beside its result, so that it can be made again."""

import hashlib
import json
import pathlib
import subprocess
from typing import Any

from zsas_jax.checkpoints.provenance import trained_on
from zsas_jax.config import to_dict
from zsas_jax.data import synthetic
from zsas_jax.training.config import Generated, TrainConfig


def describe(config: TrainConfig, pictures: Any) -> dict[str, Any]:
    """The data sets of a run and of its `init`, its config's hash and what drew its pictures.

    Args:
        config: of the run.
        pictures: its `Generated` or `PhotoSet`.
    """
    generated = isinstance(pictures, Generated)
    dataset = "generator" if generated else pictures.name
    facts: dict[str, Any] = {
        "trained_on": list(dict.fromkeys([dataset, *trained_on(*config.init)])),
        "task": type(config.task).__name__,
        "config_sha256": config_hash(config),
        "init": ["/".join(pathlib.Path(name).parts[-2:]) for name in config.init],
        "commit": commit(),
    }
    if generated:
        facts["generator_version"] = synthetic.VERSION
    else:
        facts["categories"] = list(pictures.categories)
    return facts


def config_hash(config: Any) -> str:
    """SHA-256 of a config's fields."""
    text = json.dumps(to_dict(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def commit() -> str | None:
    """The commit of the checkout that this package lies in; None outside of one."""
    folder = pathlib.Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
