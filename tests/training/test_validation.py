"""What a validation measures, on maps that are known."""

import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.config import PipelineConfig
from zsas_jax.tasks.validation import make_validation
from zsas_jax.training.config import AuxiliaryConfig, TrainConfig
from zsas_jax.training.devices import Devices


def _validate(stages):
    """Three photos in batches of two; the first of two stages finds the opposite of the truth."""
    rng = np.random.default_rng(0)
    masks = rng.random((3, 8, 8)) < 0.3
    samples = [
        lambda mask=mask: {
            "mask": mask,
            "truth": mask,
            "shown": np.zeros((8, 8, 3), np.uint8),
        }
        for mask in masks
    ]

    def predict(params, frozen, batch):
        sign = 2 * batch["mask"].astype(jnp.float32) - 1
        right = jnp.stack([-sign, sign], -1)
        return params * jnp.stack([-2 * right, right], 1)

    config = TrainConfig(
        "umci",
        steps=1,
        batch_size=2,
        auxiliary=AuxiliaryConfig(name="toy", validation_size=8),
        pipeline=PipelineConfig(umci_stages=stages),
        sample_maps=2,
    )

    def loss_of(logits, masks):
        assert len(logits) == len(masks) == 1
        return masks.sum()

    validate = make_validation(config, predict, loss_of, samples, ["a", "b", "a"])
    return validate(jnp.ones(()), None, Devices(1)), masks


def test_the_stages_of_the_pipeline_are_measured():
    last, masks = _validate(stages=1)
    assert last.scalars["pixel_ap"] == last.scalars["pixel_auroc"] == last.score == 1
    both, _ = _validate(stages=0)
    assert both.score < 0.5
    assert last.scalars["loss"] == pytest.approx(masks.sum((1, 2)).mean())
    assert [picture.shape for picture in last.pictures.values()] == [(8, 24, 3)] * 2
