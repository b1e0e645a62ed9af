"""Work for those rows of a batch that need it, with static shapes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


def map_where(
    function: Callable[[Any], Any],
    needed: Bool[Array, " b"],
    operands: Any,
    default: Any,
    size: int,
) -> Any:
    """`function` of the rows that need it, `size` rows at a time; `default` for the others.

    `function` takes and gives pytrees with a leading batch axis, row by row: what it gives for a
    row may not depend on the other rows. Rows that need it come first; once none is left, the
    function is not executed any more. No row is dropped, however many need it.

    Args:
        function: called on `size` rows, of which some may not need it.
        needed: which rows need it.
        operands: its argument, leaves [b, ...].
        default: its result for rows that do not need it, leaves [b, ...].
        size: rows in one call, static.
    """
    batch = needed.shape[0]
    steps = -(-batch // size)
    order = jnp.argsort(~needed, stable=True)
    order = jnp.pad(order, (0, steps * size - batch), constant_values=batch)

    def step(result: Any, rows: Array) -> tuple[Any, None]:
        use = needed.at[rows].get(mode="fill", fill_value=False)

        def run(result: Any) -> Any:
            nearest = jax.lax.GatherScatterMode.CLIP
            new = function(jax.tree.map(lambda x: x.at[rows].get(mode=nearest), operands))
            # Rows beyond the batch are dropped.
            target = jnp.where(use, rows, batch)
            return jax.tree.map(lambda x, y: x.at[target].set(y, mode="drop"), result, new)

        return jax.lax.cond(use.any(), run, lambda result: result, result), None

    return jax.lax.scan(step, default, order.reshape(steps, size))[0]
