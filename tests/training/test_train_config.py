"""Settings of a training run that can only be mistakes are one sentence."""

import pytest
from small_world import MeanTask

from zsas_jax.errors import ConfigError
from zsas_jax.training.config import Generated, OptimizerConfig, PhotoSet, TaskConfig, TrainConfig


def test_batches_are_cut_and_epochs_chosen_only_where_the_task_allows_it():
    parts = {"steps": 1, "batch_size": 4, "optimizer": OptimizerConfig(accumulation=2)}
    best = {"epochs": 1, "keep": "best"}
    for changes, message in (
        (parts, "accumulation is 2, but .* not the mean of its parts' losses: expected 1"),
        (best, "keep is 'best', but this run validates nothing"),
    ):
        TrainConfig(MeanTask(), **changes)
        with pytest.raises(ConfigError, match=message):
            TrainConfig(TaskConfig(), **changes)
    with pytest.raises(ConfigError, match="batch_size is 3: expected a multiple of the 2 parts"):
        TrainConfig(MeanTask(), **parts | {"batch_size": 3})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TrainConfig(TaskConfig()), "steps is 0: expected at least 1"),
        (lambda: TrainConfig(TaskConfig(), steps=5, epochs=-3), "epochs is -3"),
        (lambda: OptimizerConfig(ema_decay=1.0), "optimizer.ema_decay is 1.0"),
        (lambda: Generated(pictures=0), "data.pictures is 0: expected at least 1"),
        (lambda: Generated(crop_min=1.5), "data.crop_min is 1.5: expected between 0 and 1"),
        (lambda: PhotoSet(held_out=-0.1), "data.held_out is -0.1: expected between 0 and 1"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
