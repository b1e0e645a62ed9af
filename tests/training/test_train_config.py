"""Settings of a training run that can only be mistakes are one sentence."""

import pytest

from zsas_jax.errors import ConfigError
from zsas_jax.training.config import (
    AuxiliaryConfig,
    DataConfig,
    OptimizerConfig,
    SamTaskConfig,
    TrainConfig,
    UmciTaskConfig,
)

PARTS = OptimizerConfig(accumulation=2)
PHOTOS = AuxiliaryConfig(name="mvtec", data_dir="mvtec_anomaly_detection")


@pytest.mark.parametrize("task", ["clip", "sam", "umci"])
def test_defaults_are_valid_for_every_task(task):
    TrainConfig(task, steps=1)


@pytest.mark.parametrize(
    ("task", "umci_task", "cause"),
    [
        ("clip", UmciTaskConfig(), "task 'clip'"),
        ("sam", UmciTaskConfig(), "task 'sam'"),
        ("umci", UmciTaskConfig(loss="balanced"), "umci_task.loss 'balanced'"),
        ("umci", UmciTaskConfig(dice_over="batch"), "umci_task.dice_over 'batch'"),
    ],
)
def test_batches_are_cut_only_where_the_loss_is_a_mean_over_pictures(task, umci_task, cause):
    message = f"optimizer.accumulation is 2, but with {cause} the loss .*: expected 1"
    with pytest.raises(ConfigError, match=message):
        TrainConfig(task, steps=1, optimizer=PARTS, umci_task=umci_task)
    TrainConfig("umci", steps=1, optimizer=PARTS)


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        (
            "umci",
            {"auxiliary": AuxiliaryConfig(data_dir="VisA")},
            "auxiliary.data_dir is 'VisA', but auxiliary.name is empty: expected a data set's name",
        ),
        (
            "clip",
            {"auxiliary": AuxiliaryConfig(categories=("bottle",))},
            r"auxiliary.categories is \('bottle',\), but task 'clip' trains on the generator's",
        ),
        (
            "sam",
            {"auxiliary": PHOTOS},
            "auxiliary.name is 'mvtec', but task 'sam' trains on the generator's pictures",
        ),
        ("umci", {"keep": "best"}, "keep is 'best', but this run validates nothing"),
        ("clip", {"keep": "best"}, "keep is 'best', but this run validates nothing"),
        (
            "umci",
            {"keep": "best", "auxiliary": AuxiliaryConfig(name="mvtec", held_out=0.0)},
            "validates nothing: expected 'last', .* an auxiliary.held_out above 0",
        ),
    ],
)
def test_settings_that_the_run_would_not_read_are_refused(task, changes, message):
    with pytest.raises(ConfigError, match=message):
        TrainConfig(task, steps=1, **changes)


def test_photos_may_be_validated_and_umci_may_compute_in_bfloat16():
    TrainConfig("umci", steps=1, auxiliary=PHOTOS, keep="best", precision="bfloat16")


@pytest.mark.parametrize(("name", "least"), [("points", 2), ("prompts", 1)])
def test_sam_needs_a_click_its_correction_and_a_target(name, least):
    with pytest.raises(ConfigError, match=f"sam_task.{name} is {least - 1}: expected at least"):
        SamTaskConfig(**{name: least - 1})
    SamTaskConfig(**{name: least})


@pytest.mark.parametrize("name", ["tuning_per_class", "calibration_per_class"])
@pytest.mark.parametrize("count", [-1, 1])
def test_one_picture_of_a_class_cannot_choose_settings(name, count):
    """Half of them are anomalous; found out after the last step, the run would be lost."""
    with pytest.raises(ConfigError, match=f"{name} is {count}: expected 0 or at least 2"):
        UmciTaskConfig(**{name: count})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TrainConfig("umci", steps=5, epochs=-3), "epochs is -3: expected at least 0"),
        (
            lambda: TrainConfig(
                "umci", steps=1, umci_task=UmciTaskConfig(loss="balanced", focal_gamma=5.0)
            ),
            "focal_gamma is 5.0, which the loss 'balanced' does not have",
        ),
        (
            lambda: TrainConfig("umci", steps=1, umci_task=UmciTaskConfig(balance=0.5)),
            "balance is 0.5, which the loss 'focal_dice' does not have",
        ),
        (lambda: DataConfig(pictures=0), "data.pictures is 0: expected at least 1"),
        (lambda: DataConfig(workers=0), "data.workers is 0: expected at least 1"),
        (lambda: SamTaskConfig(box_noise=-1.0), "sam_task.box_noise is -1.0: expected at least 0"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
