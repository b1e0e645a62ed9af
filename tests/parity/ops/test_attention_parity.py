"""Attention in blocks equals PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

from zsas_jax.ops import blocked_attention
from zsas_jax.ops.attention import attention


def test_long_attention_equals_torch():
    random = np.random.default_rng(0)
    shapes = ((1, 1500, 3, 8), (1, 1500, 3, 8), (1, 1500, 3, 5))
    arrays = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *(torch.tensor(array).swapaxes(1, 2) for array in arrays)
    )
    ours = jax.jit(attention)(*map(jnp.asarray, arrays))
    assert blocked_attention.SCORES_AT_ONCE <= 1500 * 1500
    np.testing.assert_allclose(ours, theirs.swapaxes(1, 2).numpy(), atol=1e-6)
