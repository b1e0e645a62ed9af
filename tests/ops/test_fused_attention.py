"""The folding of relative positions, and what happens where the fused kernel is not there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.ops import fused_attention
from zsas_jax.ops.attention import attention, blocked_attention

ROWS, COLUMNS = 10, 13


def operands(dtype=jnp.float32, batch=(2,), width=20):
    random = np.random.default_rng(0)
    tokens = ROWS * COLUMNS

    def normal(*shape):
        return jnp.asarray(random.normal(size=shape), dtype)

    return (
        *(normal(*batch, tokens, 3, width) for _ in range(2)),
        normal(*batch, tokens, 3, 16),
        normal(*batch, 3, tokens, ROWS),
        normal(*batch, 3, tokens, COLUMNS),
    )


@pytest.mark.parametrize("batch", [(2,), (1, 2)])
def test_folded_attention_is_exact(batch):
    query, key, value, rel_h, rel_w = operands(batch=batch)
    expected = blocked_attention(query, key, value, scale=0.3, rel_h=rel_h, rel_w=rel_w)
    found = fused_attention.attention(query, key, value, rel_h, rel_w, 0.3, implementation="xla")
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_without_relative_positions_only_the_widths_are_made_equal():
    query, key, value, _, _ = operands()
    expected = blocked_attention(query, key, value, scale=0.3)
    found = fused_attention.attention(query, key, value, None, None, 0.3, implementation="xla")
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_widths_are_those_that_the_kernel_takes():
    query, key, value, rel_h, rel_w = operands()
    for array in fused_attention.fold(query, key, value, rel_h, rel_w, 0.3):
        assert array.shape[-1] == 48  # 20 + 10 + 13, in eights


@pytest.mark.parametrize("own", [True, False])
def test_gradients_are_those_of_the_blocked_form(own, monkeypatch):
    arrays = operands(width=16)
    asked = []
    monkeypatch.setattr(
        fused_attention, "_compiles", lambda *sizes, gradient: asked.append(sizes) or own
    )

    def loss(function):
        return lambda *arrays: jnp.square(function(*arrays)).sum()

    folded = loss(lambda *arrays: fused_attention.attention(*arrays, 0.25, implementation="xla"))
    plain = loss(lambda q, k, v, h, w: attention(q, k, v, rel_h=h, rel_w=w))
    found = jax.grad(folded, argnums=range(5))(*arrays)
    expected = jax.grad(plain, argnums=range(5))(*arrays)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)
    tokens = ROWS * COLUMNS
    assert asked == [(tokens, tokens, 3, 40, jnp.float32, "xla")]


def test_gradients_of_an_odd_number_of_tokens():
    query, key, value, _, _ = (array[:, :129] for array in operands(width=16))

    def loss(function):
        return lambda *arrays: jnp.square(function(*arrays)).sum()

    fused = loss(lambda *a: fused_attention.attention(*a, None, None, 0.25, implementation="xla"))
    found = jax.grad(fused, argnums=range(3))(query, key, value)
    expected = jax.grad(loss(attention), argnums=range(3))(query, key, value)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_whether_a_kernel_has_a_backward_pass_is_tried():
    sizes = (128, 128, 2, 16, jnp.dtype("float32"))
    assert fused_attention._compiles(*sizes, "xla", gradient=True)
    assert not fused_attention._compiles(*sizes, "cudnn", gradient=True)  # this is a CPU


def test_what_cannot_be_fused_falls_back(monkeypatch):
    narrow, wide = operands(jnp.bfloat16), operands()
    assert not fused_attention.is_available(*narrow[:4])  # this is a CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(fused_attention, "_compiles", lambda *sizes, **options: True)
    assert fused_attention.is_available(*narrow[:4])
    assert fused_attention.is_available(*narrow[:3], None)
    assert not fused_attention.is_available(*wide[:4])  # float32
    short = [array[:, :32] for array in narrow[:3]]
    assert not fused_attention.is_available(*short, None)
    large = [jnp.tile(array, 16) for array in narrow[:3]]
    assert not fused_attention.is_available(*large, narrow[3])


def test_a_kernel_that_does_not_compile_falls_back(monkeypatch):
    # A CPU that passes for a GPU: cuDNN is really asked, and is really missing.
    query, key, value, rel_h, rel_w = operands(jnp.bfloat16)
    expected = attention(query, key, value, rel_h=rel_h, rel_w=rel_w)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    fused_attention._compiles.cache_clear()
    found = attention(query, key, value, rel_h=rel_h, rel_w=rel_w)
    np.testing.assert_array_equal(np.asarray(found, np.float32), np.asarray(expected, np.float32))


def test_the_fused_kernel_is_taken_where_it_is_there(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(fused_attention, "_compiles", lambda *sizes, **options: True)
    taken = []
    query, key, value, rel_h, rel_w = operands(jnp.bfloat16)
    monkeypatch.setattr(
        fused_attention, "attention", lambda *given: taken.append(given) or given[2]
    )
    attention(query, key, value, rel_h=rel_h, rel_w=rel_w)
    assert len(taken) == 1
    mask = jnp.ones((ROWS * COLUMNS, ROWS * COLUMNS), bool)
    attention(query, key, value, mask=mask)
    assert len(taken) == 1
