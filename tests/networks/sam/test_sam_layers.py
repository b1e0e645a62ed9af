"""SAM's windows and relative positions, and convolutions without overlap, without PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zsas_jax.networks.sam import image_encoder
from zsas_jax.networks.sam.layers import UpsampleConv
from zsas_jax.ops.patches import PatchConv


def noise(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def close(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_relative_logits_of_accelerators_are_those_of_cpus():
    query, table_h, table_w = noise(2, 5, 7, 3, 4), noise(9, 4), noise(13, 4)
    by_line = image_encoder.products_by_line(query, table_h, table_w)
    with_all = image_encoder.products_with_all(query, table_h, table_w)
    for one, two in zip(by_line, with_all, strict=True):
        close(one, two)
    # Tables of another length are fitted first, whichever form follows.
    fitted = image_encoder.relative_logits(query, table_h, noise(11, 4))
    assert [rel.shape for rel in fitted] == [(2, 3, 5, 7, 5), (2, 3, 5, 7, 7)]


def test_windows_are_padded_with_zeros():
    windows = image_encoder.window_partition(jnp.ones((1, 6, 6, 1)), 4)
    assert windows.shape == (4, 4, 4, 1)
    assert windows.sum() == 36
    assert windows[3, 2:].sum() == 0


def test_windows_come_back():
    x = noise(2, 5, 7, 3)
    windows = image_encoder.window_partition(x, 4)
    assert windows.shape == (2 * 2 * 2, 4, 4, 3)
    np.testing.assert_array_equal(image_encoder.window_unpartition(windows, 4, (5, 7)), x)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_patch_convolutions_equal_flax(side):
    options = {
        "kernel_size": (side, side),
        "strides": (side, side),
        "padding": "VALID",
        "bias_init": nnx.initializers.normal(),
    }
    x = noise(2, 6, 12, 3)
    mine, flax = (kind(3, 5, **options, rngs=nnx.Rngs(0)) for kind in (PatchConv, nnx.Conv))
    close(mine(x), flax(x))
    mine, flax = (
        kind(3, 5, **options, rngs=nnx.Rngs(0)) for kind in (UpsampleConv, nnx.ConvTranspose)
    )
    close(mine(x), flax(x))
    assert jax.tree.map(jnp.shape, nnx.state(mine)) == jax.tree.map(jnp.shape, nnx.state(flax))
