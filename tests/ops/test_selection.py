"""Rows that need work are worked on, the others are left alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.ops.selection import map_where


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("needed", ["00000", "10010", "01111", "11111"])
def test_equals_the_function_on_needed_rows(size, needed):
    needed = jnp.array([letter == "1" for letter in needed])
    x, y = jnp.arange(5.0), jnp.arange(10).reshape(5, 2)
    default = {"a": jnp.full(5, -1.0), "b": jnp.full((5, 2), -2)}

    def function(operands):
        x, y = operands
        return {"a": 10 * x, "b": y + x[:, None].astype(int)}

    found = jax.jit(lambda x, y: map_where(function, needed, (x, y), default, size))(x, y)
    everywhere = function((x, y))
    for name, rows in everywhere.items():
        mask = np.asarray(needed).reshape(-1, *[1] * (rows.ndim - 1))
        np.testing.assert_array_equal(found[name], np.where(mask, rows, default[name]))


def test_runs_no_more_often_than_needed():
    calls = []

    def function(x):
        jax.debug.callback(lambda: calls.append(1))
        return x + 1

    needed = jnp.array([False, True, False, True, True, False, False])
    program = jax.jit(lambda x: map_where(function, needed, x, x, 2))
    np.testing.assert_array_equal(program(jnp.zeros(7)), needed.astype(float))
    jax.effects_barrier()
    assert len(calls) == 2
