"""Attention against a plain NumPy writing, whole and in blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.ops import blocked_attention as blocked
from zsas_jax.ops.attention import attention


def plain(query, key, value, bias=None, mask=None, scale=None):
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = scale * np.einsum(
        "...qhd,...khd->...hqk", *(np.asarray(x, np.float64) for x in (query, key))
    )
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("...hqk,...khe->...qhe", weights, value)


def operands(queries=21, rows=3, columns=7, batch=(2,), heads=3, seed=0):
    random = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    keys = rows * columns
    return (
        normal(*batch, queries, heads, 8),
        normal(*batch, keys, heads, 8),
        normal(*batch, keys, heads, 5),
        normal(*batch, heads, queries, rows),
        normal(*batch, heads, queries, columns),
    )


# Scores of a piece and the backend whose way of cutting is taken. 21 x 21 scores a head: 8 queries
# of one head (three unequal blocks), whole heads in groups of 2 of 3, and all that fits.
WAYS = {
    "whole": ("cpu", 2**20),
    "blocks": ("cpu", 8 * 21),
    "groups": ("cpu", 2 * 21 * 21),
    "accelerator": ("tpu", 3 * 8 * 21),
}


def cut(monkeypatch, backend, scores):
    if backend != "cpu":
        monkeypatch.setattr(blocked, "on_cpu", blocked.on_accelerators)
    monkeypatch.setattr(blocked, "SCORES_AT_ONCE", scores)
    monkeypatch.setattr(blocked, "SCORES_AT_ONCE_ELSEWHERE", scores)
    monkeypatch.setattr(blocked, "RECOMPUTED_FROM_SCORES", 0)


@pytest.fixture(params=WAYS)
def blocks(request, monkeypatch):
    """All code paths at small sizes."""
    cut(monkeypatch, *WAYS[request.param])
    return request.param


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_equals_plain_attention(blocks, batch):
    query, key, value, _, _ = operands(batch=batch)
    np.testing.assert_allclose(attention(query, key, value), plain(query, key, value), atol=2e-6)
    scaled = attention(query, key, value, scale=0.9)
    np.testing.assert_allclose(scaled, plain(query, key, value, scale=0.9), atol=2e-6)


@pytest.mark.parametrize(
    "shape", [(21,), (21, 21), (3, 21, 21), (3, 1, 21), (2, 1, 1, 21), (2, 3, 21, 21)]
)
def test_bias_and_mask_broadcast(blocks, shape):
    query, key, value, _, _ = operands()
    random = np.random.default_rng(3)
    bias = random.normal(size=shape).astype(np.float32)
    mask = random.random(shape) < 0.6
    mask[..., 4] = True
    np.testing.assert_allclose(
        attention(query, key, value, bias=jnp.asarray(bias), mask=jnp.asarray(mask)),
        plain(query, key, value, bias, mask),
        atol=2e-6,
    )


def test_decomposed_bias_equals_the_full_bias(blocks):
    query, key, value, rel_h, rel_w = operands()
    full = (rel_h[..., :, None] + rel_w[..., None, :]).reshape(2, 3, 21, 21)
    np.testing.assert_allclose(
        attention(query, key, value, rel_h=rel_h, rel_w=rel_w),
        plain(query, key, value, full),
        atol=2e-6,
    )
    with pytest.raises(ValueError, match="both or neither"):
        attention(query, key, value, rel_h=rel_h)


def test_fully_masked_query_gives_zeros_and_finite_gradients(blocks):
    query, key, value, _, _ = operands()
    mask = np.ones((21, 21), bool)
    mask[5] = False
    result = attention(query, key, value, mask=jnp.asarray(mask))
    assert np.abs(result[:, 5]).max() == 0
    gradient = jax.grad(lambda q: attention(q, key, value, mask=jnp.asarray(mask)).sum())(query)
    assert np.isfinite(gradient).all()


def test_masked_keys_have_no_effect_at_all(blocks):
    query, key, value, _, _ = operands()
    mask = jnp.arange(21) < 13
    spoiled = value.at[:, 13:].set(1e30)
    one, two = (attention(query, key, v, mask=mask) for v in (value, spoiled))
    assert (one == two).all()


def test_gradients_of_blocks_equal_those_of_the_whole(monkeypatch):
    arguments = operands()

    def loss(query, key, value, rel_h, rel_w):
        return jnp.square(attention(query, key, value, rel_h=rel_h, rel_w=rel_w)).sum()

    whole = jax.grad(loss, argnums=range(5))(*arguments)
    for way in ("blocks", "groups", "accelerator"):
        cut(monkeypatch, *WAYS[way])
        in_pieces = jax.grad(loss, argnums=range(5))(*arguments)
        for one, two in zip(whole, in_pieces, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("scores", [8 * 21, 21 * 21])
def test_backward_pass_of_long_plain_attention_equals_automatic_differentiation(
    batch, scores, monkeypatch
):
    arguments = operands(batch=batch)[:3]
    weights = np.random.default_rng(1).normal(size=(*batch, 21, 3, 5))

    def loss(query, key, value):
        return (weights * jnp.square(attention(query, key, value))).sum()

    automatic = jax.grad(loss, argnums=range(3))(*arguments)
    monkeypatch.setattr(blocked, "GRADIENT_SCORES_AT_ONCE", scores)
    monkeypatch.setattr(blocked, "OWN_GRADIENT_FROM_SCORES", 0)
    written = jax.grad(loss, argnums=range(3))(*arguments)
    for one, two in zip(automatic, written, strict=True):
        assert np.abs(one).max() > 0.1
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_long_sequences_never_hold_all_scores():
    shape = jax.ShapeDtypeStruct((1, 2048, 4, 16), jnp.float32)
    relative = jax.ShapeDtypeStruct((1, 4, 2048, 32), jnp.float32)
    narrow = jax.ShapeDtypeStruct((1, 4, 2048, 64), jnp.float32)

    def loss(query, key, value, rel_h, rel_w):
        return jnp.square(attention(query, key, value, rel_h=rel_h, rel_w=rel_w)).sum()

    all_scores = 4 * 2048 * 2048 * 4  # bytes
    arguments = (shape, shape, shape, relative, narrow)
    for function in (loss, jax.grad(loss, argnums=(0, 1, 2))):
        compiled = jax.jit(function).lower(*arguments).compile()
        assert compiled.memory_analysis().temp_size_in_bytes < all_scores / 2


def test_bfloat16_scores_are_float32():
    query, key, value, _, _ = operands()
    narrow = [jnp.asarray(x, jnp.bfloat16) for x in (query * 4, key * 4, value)]
    result = attention(*narrow)
    assert result.dtype == jnp.bfloat16
    exact = plain(*(np.asarray(x, np.float32) for x in narrow))
    # Scores reach 50, where bfloat16 resolves 0.25: only float32 scores stay this close.
    assert np.abs(np.asarray(result, np.float32) - exact).max() < 0.03


@pytest.mark.parametrize("width", [4, 5])  # Scales of 1/2, which bfloat16 takes exactly, and not.
def test_bfloat16_gradients_are_summed_in_float32(width, monkeypatch):
    monkeypatch.setattr(blocked, "GRADIENT_SCORES_AT_ONCE", 8 * 300)
    monkeypatch.setattr(blocked, "OWN_GRADIENT_FROM_SCORES", 0)
    random = np.random.default_rng(0)
    narrow = [jnp.asarray(random.normal(size=(300, 2, width)), jnp.bfloat16) for _ in range(3)]

    def loss(query, key, value):
        return jnp.square(attention(query, key, value).astype(jnp.float32)).sum()

    ours = jax.grad(loss, argnums=range(3))(*narrow)
    exact = jax.grad(loss, argnums=range(3))(*(x.astype(jnp.float32) for x in narrow))
    for one, two in zip(ours, exact, strict=True):
        assert one.dtype == jnp.bfloat16
        error = np.abs(np.asarray(one, np.float32) - two)
        assert error.max() < 0.02 * np.abs(two).max()
