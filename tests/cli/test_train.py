"""`zsas train`: every config that comes with the package, and a run from arguments to a model."""

import pathlib

import pytest

from zsas_jax.ablations import Ablations
from zsas_jax.cli.common import load_config_file
from zsas_jax.training.config import TrainConfig
from zsas_jax.training.recipe import Recipe, runs_of

CONFIGS = sorted((pathlib.Path(__file__).resolve().parents[2] / "configs").glob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_builds(path):
    config = load_config_file(path.stem, (TrainConfig, Recipe, Ablations))
    if isinstance(config, Recipe):
        runs = runs_of(config, pathlib.Path("runs"))
        directories = [str(directory / "model") for directory, _ in runs]
        for number, (_, train) in enumerate(runs):
            assert set(train.init) <= set(directories[:number])
