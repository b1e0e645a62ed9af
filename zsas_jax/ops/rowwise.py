"""Functions of rows whose intermediate values are much larger than the rows, in bounded blocks."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Intermediate values of a block on CPUs: 12 MiB of float32 stay in the caches between the two
# matrix products of an MLP. Accelerators are better served by whole products.
VALUES_AT_ONCE = 3 * 2**20


def by_rows(
    function: Callable[[Array], Array], x: Float[Array, "*batch c"], hidden: int
) -> Float[Array, "*batch d"]:
    """`function` of each row (the last axis), on CPUs in blocks of rows, one after another.

    `hidden` is the number of values that a row needs in between. The result is that of
    `function(x)`, which must not mix rows.
    """
    rows = math.prod(x.shape[:-1])
    blocks = math.ceil(rows * hidden / VALUES_AT_ONCE)
    if blocks <= 1:
        return function(x)
    return jax.lax.platform_dependent(
        x, cpu=lambda x: _in_blocks(function, x, blocks), default=function
    )


def _in_blocks(
    function: Callable[[Array], Array], x: Float[Array, "*batch c"], blocks: int
) -> Float[Array, "*batch d"]:
    """Blocks of one size; the last is padded."""
    rows = math.prod(x.shape[:-1])
    size = math.ceil(rows / blocks)
    padded = jnp.pad(x.reshape(rows, -1), ((0, blocks * size - rows), (0, 0)))
    result = jax.lax.map(function, padded.reshape(blocks, size, -1))
    return result.reshape(blocks * size, -1)[:rows].reshape(*x.shape[:-1], -1)
