"""What a validation measures, on maps that are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.training.config import TaskConfig, TrainConfig
from zsas_jax.training.devices import Devices
from zsas_jax.training.validation import make_validation


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_maps_are_scored_by_category_and_losses_by_photo(sign):
    """Three photos in batches of two; the maps are the truth, or its opposite."""
    rng = np.random.default_rng(0)
    masks = rng.random((3, 8, 8)) < 0.3
    samples = [
        lambda mask=mask: {"mask": mask, "truth": mask, "shown": np.zeros((8, 8, 3), np.uint8)}
        for mask in masks
    ]

    def measured(params, frozen, batch):
        mask = batch["mask"].astype(jnp.float32)
        return 0.5 + params * (mask - 0.5), mask.sum((1, 2))

    config = TrainConfig(TaskConfig(), steps=1, batch_size=2, sample_maps=2)
    validate = make_validation(config, 8, measured, samples, ["a", "b", "a"])
    found = validate(jnp.asarray(sign), None, Devices(1))
    if sign > 0:
        assert found.scalars["pixel_ap"] == found.scalars["pixel_auroc"] == found.score == 1
    else:
        assert found.score < 0.5
    assert found.scalars["loss"] == pytest.approx(masks.sum((1, 2)).mean())
    assert [picture.shape for picture in found.pictures.values()] == [(8, 24, 3)] * 2
