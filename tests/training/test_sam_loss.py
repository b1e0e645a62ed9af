"""SAM's loss on masks and clicks that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.networks.sam import MaskPrediction
from zsas_jax.tasks.sam import _correction, _score
from zsas_jax.training import losses
from zsas_jax.training.config import SamTaskConfig


@pytest.mark.parametrize("missing", [True, False])
def test_the_correction_is_a_wrong_pixel_with_its_true_label(missing):
    truth = np.zeros((1, 1, 6, 8), bool)
    truth[0, 0, 2:4, 2:5] = True
    predicted = truth.copy()
    y, x = (3, 4) if missing else (5, 1)
    predicted[0, 0, y, x] = not missing
    for seed in range(3):
        found = _correction(jax.random.key(seed), jnp.asarray(predicted), jnp.asarray(truth))
        assert [int(value[0, 0]) for value in found] == [x, y, int(missing)]


def test_the_best_mask_is_trained_and_every_quality():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(0, 3, (1, 3, 3, 8, 8)), jnp.float32)
    targets = jnp.asarray(rng.random((1, 3, 8, 8)) < 0.4, jnp.float32)
    believed = jnp.asarray([[[0.1, 0.9, 0.2], [0.8, 0.3, 0.1], [0.5, 0.5, 0.9]]])
    weight = jnp.asarray([[1.0, 1.0, 0.0]])
    config = SamTaskConfig(focal_weight=2.0, dice_weight=3.0, iou_weight=5.0)
    prediction = MaskPrediction(logits, believed)
    loss, best, mean_iou = _score(prediction, targets, weight, config)
    expected, ious = [], []
    for row, chosen in ((0, 1), (1, 0)):  # The third has no weight.
        np.testing.assert_array_equal(best[0, row], logits[0, row, chosen])
        each = [losses.mask_losses(logits[0, row, m], targets[0, row]) for m in range(3)]
        quality = np.mean([(believed[0, row, m] - each[m][2]) ** 2 for m in range(3)])
        expected.append(min(2 * focal + 3 * dice for focal, dice, _ in each) + 5 * quality)
        ious.append(each[chosen][2])
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)
    np.testing.assert_allclose(mean_iou, np.mean(ious), rtol=1e-5)
