"""ClipSAM's loss against a PyTorch writing of it."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

from zsas_jax.ops import losses


def _torch_umci_loss(logits, masks, weights, gamma=2.0, smooth=1.0):
    """ClipSAM Eqs. 10-12 as PyTorch users write them (APRIL-GAN's focal and Dice)."""
    total = 0.0
    for stage, weight in enumerate(weights):
        stage_logits = torch.nn.functional.interpolate(
            logits[:, stage].permute(0, 3, 1, 2), masks.shape[-2:], mode="bilinear"
        )
        p = stage_logits.softmax(1)
        true_p = torch.where(masks > 0.5, p[:, 1], p[:, 0])
        focal = -((1 - true_p) ** gamma * true_p.log()).mean((1, 2))
        overlap = (p[:, 1] * masks).sum((1, 2))
        area = p[:, 1].sum((1, 2)) + masks.sum((1, 2))
        total = total + weight * (focal + 1 - (2 * overlap + smooth) / (area + smooth)).mean()
    return total


def test_umci_loss_and_its_gradient_equal_pytorch():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (3, 4, 5, 7, 2)).astype(np.float32)
    masks = (rng.random((3, 20, 35)) < 0.1).astype(np.float32)
    masks[0] = 0
    weights = (0.1, 0.1, 0.1, 0.7)
    value, gradient = jax.value_and_grad(losses.umci_loss)(
        jnp.asarray(logits), jnp.asarray(masks), weights
    )
    reference = torch.tensor(logits, requires_grad=True)
    expected = _torch_umci_loss(reference, torch.tensor(masks), weights)
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    scale = reference.grad.abs().max()
    np.testing.assert_allclose(gradient / scale.item(), (reference.grad / scale).numpy(), atol=1e-5)
