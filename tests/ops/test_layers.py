"""Small layers: statistics, dtypes and what is a parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zsas_jax.errors import ConfigError
from zsas_jax.ops.layers import (
    Buffer,
    LayerNorm,
    Linear,
    Mlp,
    cast_parameters,
    gelu,
)


def test_layer_norm_epsilon_matters_and_bfloat16_uses_float32_statistics():
    tiny = jnp.asarray(np.random.default_rng(1).normal(size=(4, 8)) * 1e-3, jnp.float32)
    five, six = (LayerNorm(8, eps=eps, rngs=nnx.Rngs(0))(tiny) for eps in (1e-5, 1e-6))
    assert float(jnp.abs(five - six).max()) > 0.1
    norm = LayerNorm(256, eps=1e-5, rngs=nnx.Rngs(0), param_dtype=jnp.bfloat16)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(16, 256)) * 3 + 10, jnp.bfloat16)
    y = norm(x)
    assert y.dtype == jnp.bfloat16
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean(-1, keepdims=True)) / exact.std(-1, keepdims=True)
    assert np.abs(np.asarray(y, np.float64) - exact).max() < 2**-8 * np.abs(exact).max()


def test_mlp_and_buffer_split_into_parameters_and_others():
    class Both(nnx.Module):
        def __init__(self, *, rngs):
            self.mlp = Mlp(4, 6, activation=gelu, rngs=rngs)
            self.fixed = Buffer(jnp.ones((2,)))

    both = Both(rngs=nnx.Rngs(0))
    assert jax.jit(lambda m, x: m.mlp(x) + m.fixed.sum())(both, jnp.ones((3, 4))).shape == (3, 4)
    _, parameters, rest = nnx.split(both, nnx.Param, ...)
    assert len(jax.tree.leaves(parameters)) == 4
    assert len(jax.tree.leaves(rest)) == 1


class Tower(nnx.Module):
    """One module of each kind that `cast_parameters` tells apart."""

    def __init__(self, *, rngs):
        self.norm = LayerNorm(512, eps=1e-5, rngs=rngs)
        self.linear = Linear(512, 6, rngs=rngs)
        self.conv = nnx.Conv(6, 2, (3,), rngs=rngs)
        self.fixed = Buffer(jnp.ones((2,)))

    def __call__(self, x):
        return self.linear(self.norm(x))


def test_bfloat16_on_a_cpu_is_for_products_alone():
    tower = Tower(rngs=nnx.Rngs(0))
    on_cpu = cast_parameters(tower, "bfloat16")
    wide = (on_cpu.norm.scale, on_cpu.linear.bias, on_cpu.conv.kernel, on_cpu.fixed)
    assert on_cpu.linear.kernel.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in wide} == {jnp.dtype(jnp.float32)}
    x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 512)), jnp.float32)
    # What bfloat16 weights and inputs give, summed exactly: rounded nowhere else.
    norm, kernel = (
        np.asarray(narrow.astype(jnp.bfloat16), np.float64)
        for narrow in (tower.norm(x), tower.linear.kernel[...])
    )
    result = on_cpu(x)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, norm @ kernel, atol=1e-4)
    assert np.abs(result - tower(x)).max() > 1e-3  # It did compute in bfloat16.

    # Stored in bfloat16 throughout, what is no product is widened.
    elsewhere = cast_parameters(tower, "bfloat16", platform="gpu")
    leaves = jax.tree.leaves(nnx.state(elsewhere, nnx.Param))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.bfloat16)}
    assert elsewhere(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert elsewhere.fixed.dtype == jnp.float32
    back = cast_parameters(elsewhere, "bfloat16").norm.scale
    np.testing.assert_array_equal(back, elsewhere.norm.scale)
    assert back.dtype == jnp.float32


def test_float64_needs_the_mode_that_has_it():
    with pytest.raises(ConfigError, match="float64: expected JAX_ENABLE_X64=1"):
        cast_parameters(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), "float64")


def test_gradients_reach_the_parameters_that_were_cast():
    graphdef, parameters, fixed = nnx.split(Tower(rngs=nnx.Rngs(0)), nnx.Param, ...)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 512)), jnp.float32)

    def loss(parameters, dtype):
        return jnp.square(cast_parameters(nnx.merge(graphdef, parameters, fixed), dtype)(x)).sum()

    exact, narrow = (jax.grad(loss)(parameters, dtype) for dtype in ("float32", "bfloat16"))
    for one, two in zip(jax.tree.leaves(exact), jax.tree.leaves(narrow), strict=True):
        assert two.dtype == jnp.float32
        np.testing.assert_allclose(one, two, atol=0.02 * max(np.abs(one).max(), 1e-6))
