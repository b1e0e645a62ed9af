"""Small layers equal PyTorch's."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from zsas_jax.ops.layers import LayerNorm, gelu, quick_gelu


def relative(ours, theirs):
    theirs = theirs.detach().numpy()
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("eps", [1e-5, 1e-6])
def test_layer_norm_matches_torch_far_from_zero_mean(eps):
    # A mean of 300 with a deviation of 0.1: the one-pass variance loses all its digits here.
    random = np.random.default_rng(0)
    x = (300 + 0.1 * random.normal(size=(3, 5, 32))).astype(np.float32)
    theirs = torch.nn.LayerNorm(32, eps=eps)
    ours = LayerNorm(32, eps=eps, rngs=nnx.Rngs(0))
    scale, bias = random.normal(size=(2, 32)).astype(np.float32)
    theirs.weight.data, theirs.bias.data = torch.tensor(scale), torch.tensor(bias)
    ours.scale.set_value(jnp.asarray(scale))
    ours.bias.set_value(jnp.asarray(bias))
    # At this mean float32 itself resolves 3e-5 of 0.1.
    exact = torch.nn.functional.layer_norm(
        torch.tensor(x).double(), (32,), theirs.weight.double(), theirs.bias.double(), eps
    )
    assert relative(ours(jnp.asarray(x)), exact) < 1e-3
    small = (x - 300).astype(np.float32)
    assert relative(ours(jnp.asarray(small)), theirs(torch.tensor(small))) < 1e-6


def test_activations_match_torch():
    x = np.linspace(-8, 8, 1001, dtype=np.float32)
    assert relative(gelu(jnp.asarray(x)), torch.nn.functional.gelu(torch.tensor(x))) < 1e-6
    theirs = torch.tensor(x) * torch.sigmoid(1.702 * torch.tensor(x))
    assert relative(quick_gelu(jnp.asarray(x)), theirs) < 1e-6
