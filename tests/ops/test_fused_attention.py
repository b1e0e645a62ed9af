"""The folding of relative positions, and what happens where the fused kernel is not there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.ops import fused_attention
from zsas_jax.ops.attention import attention
from zsas_jax.ops.blocked_attention import blocked_attention

ROWS, COLUMNS = 10, 13
TOKENS = ROWS * COLUMNS
SCALE = 0.25


def operands(dtype=jnp.float32, batch=(2,), width=20):
    random = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(random.normal(size=shape), dtype)

    return (
        *(normal(*batch, TOKENS, 3, width) for _ in range(2)),
        normal(*batch, TOKENS, 3, 16),
        normal(*batch, 3, TOKENS, ROWS),
        normal(*batch, 3, TOKENS, COLUMNS),
    )


def blocked(query, key, value, rel_h, rel_w):
    return blocked_attention(query, key, value, scale=SCALE, rel_h=rel_h, rel_w=rel_w)


# The same folding, multiplied by XLA instead of cuDNN.
fused = functools.partial(
    fused_attention.attention, scale=SCALE, fallback=blocked, implementation="xla"
)


def gradients(function, arrays):
    indices = [index for index, array in enumerate(arrays) if array is not None]
    return jax.grad(lambda *a: jnp.square(function(*a)).sum(), argnums=indices)(*arrays)


def for_gpus(function, *arrays):
    """The text of the program that NVIDIA GPUs get; lowering it needs none."""
    return jax.jit(function).trace(*arrays).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("batch", [(2,), (1, 2)])
@pytest.mark.parametrize("relative", [True, False])
def test_folded_attention_is_exact(batch, relative):
    arrays = operands(batch=batch)
    arrays = arrays if relative else (*arrays[:3], None, None)
    found, expected = fused(*arrays), blocked(*arrays)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_widths_are_those_that_the_kernel_takes():
    for array in fused_attention.fold(*operands(), SCALE):
        assert array.shape[-1] == 48  # 20 + 10 + 13, in eights


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("tokens", [TOKENS, 129])
def test_gradients_are_those_of_the_blocked_form(own, tokens, monkeypatch):
    arrays = operands(width=16)
    if tokens != TOKENS:  # The kernel has no backward pass for odd numbers of tokens.
        arrays = (*(array[:, :tokens] for array in arrays[:3]), None, None)
    asked = []

    def compiles(*sizes, gradient):
        asked.append((*sizes, gradient))
        return own

    monkeypatch.setattr(fused_attention, "compiles", compiles)
    found, expected = gradients(fused, arrays), gradients(blocked, arrays)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)
    assert asked == [(tokens, tokens, 3, 40 if tokens == TOKENS else 16, jnp.float32, True)]


def test_what_cannot_be_fused_is_not_tried(monkeypatch):
    narrow, wide = operands(jnp.bfloat16), operands()
    assert not fused_attention.is_available(*narrow[:4])  # this is a CPU
    monkeypatch.setattr(fused_attention, "compiles", lambda *sizes, **options: True)
    assert fused_attention.is_available(*narrow[:4])
    assert fused_attention.is_available(*narrow[:3], None)
    assert not fused_attention.is_available(*wide[:4])  # float32
    short = [array[:, :32] for array in narrow[:3]]
    assert not fused_attention.is_available(*short, None)
    large = [jnp.tile(array, 16) for array in narrow[:3]]
    assert not fused_attention.is_available(*large, narrow[3])


def test_only_programs_for_gpus_hold_the_kernel(monkeypatch):
    query, key, value, rel_h, rel_w = operands(jnp.bfloat16)
    expected = attention(query, key, value, rel_h=rel_h, rel_w=rel_w)
    monkeypatch.setattr(fused_attention, "compiles", lambda *sizes, **options: True)

    def kernel(query, key, value, rel_h, rel_w, *, scale, fallback):
        return value + 7

    monkeypatch.setattr(fused_attention, "attention", kernel)
    found = attention(query, key, value, rel_h=rel_h, rel_w=rel_w)
    np.testing.assert_array_equal(np.asarray(found, np.float32), np.asarray(expected, np.float32))
    program = for_gpus(
        lambda *a: attention(*a[:3], rel_h=a[3], rel_w=a[4]), *operands(jnp.bfloat16)
    )
    assert "dot_general" not in program
    mask = jnp.ones((TOKENS, TOKENS), bool)
    assert "dot_general" in for_gpus(functools.partial(attention, mask=mask), query, key, value)
