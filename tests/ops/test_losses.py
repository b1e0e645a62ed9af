"""Losses against finite differences and hand-computed values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.ops import losses


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (3, 4, 5, 7, 2)).astype(np.float32)
    masks = (rng.random((3, 20, 35)) < 0.1).astype(np.float32)
    masks[0] = 0
    return logits, masks


def test_umci_loss_gradient_equals_finite_differences(batch):
    logits, masks = batch
    with jax.enable_x64(True):
        args = jnp.asarray(masks, jnp.float64), (0.25, 0.25, 0.25, 0.25)

        def loss(x):
            # float32 inside: a step large enough for its precision.
            return losses.umci_loss(x, *args)

        x = jnp.asarray(logits, jnp.float32)
        gradient = np.asarray(jax.grad(loss)(x))
        direction = np.sign(gradient).astype(np.float32)
        step = 1e-2
        slope = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
        np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=2e-3)


def test_focal_loss_of_known_probabilities():
    log_p = jnp.log(jnp.asarray([[[[0.25, 0.75], [0.5, 0.5]]]]))
    targets = jnp.asarray([[[1.0, 0.0]]])
    expected = -(0.25**2 * np.log(0.75) + 0.5**2 * np.log(0.5)) / 2
    np.testing.assert_allclose(losses.focal_loss(log_p, targets)[0], expected, rtol=1e-6)


def test_dice_loss_of_known_maps():
    truth = jnp.asarray([[[1.0, 1.0, 0.0, 0.0]]])
    np.testing.assert_allclose(losses.dice_loss(truth, truth)[0], 0, atol=1e-6)
    half = losses.dice_loss(jnp.asarray([[[1.0, 0.0, 0.0, 0.0]]]), truth)
    np.testing.assert_allclose(half[0], 1 - 3 / 4, rtol=1e-6)


def test_contrastive_loss_is_lowest_for_matching_pairs_and_shares_equal_captions():
    features = jnp.eye(4)
    groups = jnp.arange(4)
    scale = jnp.asarray(50.0)
    assert losses.contrastive_loss(features, features, groups, scale) < 1e-3
    assert losses.contrastive_loss(features, features[::-1], groups, scale) > 10
    # Two pictures with the same caption: neither is the other's negative.
    twins = jnp.asarray([0, 0, 1, 2])
    text = features.at[1].set(features[0])
    images = text
    shared = losses.contrastive_loss(images, text, twins, scale)
    np.testing.assert_allclose(shared, np.log(2) / 2, atol=1e-3)


def test_mask_losses_are_the_focal_loss_without_alpha_and_dice():
    logits = np.random.default_rng(1).normal(0, 2, (2, 4, 5)).astype(np.float32)
    truth = (np.random.default_rng(2).random((2, 4, 5)) < 0.5).astype(np.float32)
    focal, dice, _ = losses.mask_losses(jnp.asarray(logits), jnp.asarray(truth))
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    right = np.where(truth > 0.5, p, 1 - p)
    expected = (-((1 - right) ** 2) * np.log(right)).mean((1, 2))
    np.testing.assert_allclose(focal, expected, rtol=1e-5)
    overlap, total = (p * truth).sum((1, 2)), p.sum((1, 2)) + truth.sum((1, 2))
    np.testing.assert_allclose(dice, 1 - (2 * overlap + 1) / (total + 1), rtol=1e-5)


def test_dice_over_the_batch_is_that_of_one_tall_picture(batch):
    logits, _ = batch
    logits, weights = jnp.asarray(logits), (0.1, 0.2, 0.3, 0.4)
    masks = jnp.asarray(np.random.default_rng(3).random((3, 5, 7)) < 0.2, jnp.float32)
    found = losses.umci_loss(logits, masks, weights, dice_over="batch")
    tall = jnp.moveaxis(logits, 1, 0).reshape(1, 4, 15, 7, 2)
    expected = losses.umci_loss(tall, masks.reshape(1, 15, 7), weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert abs(found - losses.umci_loss(logits, masks, weights)) > 1e-3


def test_mask_losses_report_the_true_iou():
    logits = jnp.asarray([[[5.0, 5.0, -5.0, -5.0]]])
    targets = jnp.asarray([[[1.0, 0.0, 1.0, 0.0]]])
    _, _, iou = losses.mask_losses(logits, targets)
    np.testing.assert_allclose(iou[0], 1 / 3)


@pytest.mark.parametrize(("balance", "weight"), [(0.0, 1.0), (0.5, 3**0.5), (1.0, 3.0)])
def test_balanced_cross_entropy_weighs_the_few_anomalous_patches(balance, weight):
    probabilities = jnp.array([0.1, 0.2, 0.4, 0.7, 0.99])  # of being anomalous
    shares = jnp.array([0.0, 0.0, 0.0, 0.5, 0.05])  # three normal, one anomalous, one unclear
    logits = jnp.log(jnp.stack([1 - probabilities, probabilities], -1))
    found = losses.balanced_cross_entropy(
        logits.reshape(1, 1, 5, 2), shares.reshape(1, 1, 5), balance
    )
    normal = -np.log([0.9, 0.8, 0.6]).sum()
    expected = (normal - weight * np.log(0.7)) / (3 + weight)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_balanced_cross_entropy_focuses_on_what_is_wrong():
    probabilities = jnp.array([0.1, 0.6, 0.7])
    logits = jnp.log(jnp.stack([1 - probabilities, probabilities], -1)).reshape(1, 1, 3, 2)
    found = losses.balanced_cross_entropy(logits, jnp.array([[[0.0, 0.0, 1.0]]]), 0.0, 2.0)
    expected = -(0.1**2 * np.log(0.9) + 0.6**2 * np.log(0.4) + 0.3**2 * np.log(0.7)) / 3
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_balanced_cross_entropy_of_good_pictures_alone_is_their_mean():
    logits = jnp.log(jnp.array([0.9, 0.1])) * jnp.ones((2, 3, 3, 1))
    found = losses.balanced_cross_entropy(logits, jnp.zeros((2, 3, 3)))
    np.testing.assert_allclose(found, -np.log(0.9), rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_gradients_are_finite_where_the_network_is_certain(gamma):
    # In float32 the probabilities are exactly 0 and 1.
    logits = jnp.array([[20.0, -20.0], [-20.0, 20.0], [20.0, -20.0]]).reshape(1, 1, 3, 2)
    right, wrong = jnp.array([[[0.0, 1.0, 0.0]]]), jnp.array([[[1.0, 0.0, 1.0]]])
    for targets, smallest in ((right, 0), (wrong, 0.1)):

        def balanced(logits, targets=targets):
            return losses.stage_cross_entropy(logits[:, None], targets, 1.0, gamma)

        def focal(logits, targets=targets):
            return losses.focal_loss(jax.nn.log_softmax(logits), targets, gamma).sum()

        for loss in (balanced, focal):
            gradient = jax.grad(loss)(logits)
            assert bool(jnp.isfinite(gradient).all())
            assert jnp.abs(gradient).max() >= smallest
