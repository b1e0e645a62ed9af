"""Row-wise functions in blocks equal those on the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.ops import rowwise


@pytest.mark.parametrize("shape", [(7, 3), (2, 5, 3), (2, 2, 4, 3)])
def test_blocks_equal_the_whole(shape, monkeypatch):
    random = np.random.default_rng(0)
    x, weights = (jnp.asarray(random.normal(size=s), jnp.float32) for s in (shape, (3, 6)))
    shapes = []

    def function(rows):
        shapes.append(rows.shape)
        return jnp.tanh(rows @ weights)

    def loss(x):
        return jnp.square(rowwise.by_rows(function, x, 6)).sum()

    whole, gradient = rowwise.by_rows(function, x, 6), jax.grad(loss)(x)
    assert set(shapes) == {shape}
    shapes.clear()
    monkeypatch.setattr(rowwise, "VALUES_AT_ONCE", 3 * 6)
    np.testing.assert_allclose(rowwise.by_rows(function, x, 6), whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.grad(loss)(x), gradient, rtol=1e-5, atol=1e-6)
    assert max(rows[0] for rows in shapes) <= 3


def test_accelerators_take_all_rows_at_once(monkeypatch):
    monkeypatch.setattr(rowwise, "VALUES_AT_ONCE", 3 * 6)
    traced = jax.jit(lambda x: rowwise.by_rows(jnp.tanh, x, 6)).trace(jnp.zeros((7, 3)))
    programs = {name: traced.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "tpu")}
    assert "while" in programs["cpu"]
    assert "while" not in programs["tpu"]
    assert "7x3" in programs["tpu"]
