"""Order statistics of non-negative maps under a mask, without sorting."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

LARGEST_BITS = 0x7F800000  # the bit pattern of float32's infinity


def kth_smallest(
    values: Float[Array, "*n"], mask: Bool[Array, "*n"], rank: Int[Array, ""] | int
) -> Float[Array, ""]:
    """The value of 1-based `rank` among the masked values, exactly; float32, values >= 0.

    Bit patterns of non-negative floats are ordered like the floats, so a bisection over the 31
    bits finds the value; each step is one pass of comparisons, much cheaper than a sort. The
    number of valid values is dynamic. Infinity where fewer than `rank` are valid.
    """
    values = jnp.maximum(jax.lax.stop_gradient(values).astype(jnp.float32), 0) + 0.0
    bits = jnp.where(mask, jax.lax.bitcast_convert_type(values, jnp.int32), LARGEST_BITS)

    def halve(_: Array, bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = low + (high - low) // 2
        enough = jnp.sum(bits <= middle, dtype=jnp.int32) >= rank
        return jnp.where(enough, low, middle + 1), jnp.where(enough, middle, high)

    low = jnp.int32(0)
    _, high = jax.lax.fori_loop(0, 31, halve, (low, jnp.int32(LARGEST_BITS)))
    return jax.lax.bitcast_convert_type(high, jnp.float32)


def masked_quantile(
    values: Float[Array, "*n"], mask: Bool[Array, "*n"], fraction: float
) -> Float[Array, ""]:
    """The smallest masked value that at least `fraction` of them do not exceed; values >= 0.

    NumPy's `quantile(..., method="inverted_cdf")`: always a value of the map, never between two.
    """
    count = jnp.sum(mask, dtype=jnp.int32)
    return kth_smallest(values, mask, jnp.maximum(_ceil_fraction(count, fraction), 1))


def top_fraction_mean(
    values: Float[Array, "*n"], mask: Bool[Array, "*n"], fraction: float
) -> Float[Array, ""]:
    """Mean of the highest `fraction` of the masked values, of at least one; values >= 0.

    0 where nothing is masked.
    """
    count = jnp.sum(mask, dtype=jnp.int32)
    top = jnp.clip(_ceil_fraction(count, fraction), 1, jnp.maximum(count, 1))
    threshold = kth_smallest(values, mask, count - top + 1)
    above = mask & (values > threshold)
    total = jnp.sum(jnp.where(above, values, 0.0))
    # Ties at the threshold fill up the count.
    rest = (top - jnp.sum(above, dtype=jnp.int32)) * threshold
    return jnp.where(count > 0, (total + rest) / top, 0.0)


def _ceil_fraction(count: Int[Array, ""], fraction: float) -> Int[Array, ""]:
    """ceil(count * fraction); products within float32's rounding of an integer are that integer."""
    product = count * jnp.float32(fraction)
    nearest = jnp.round(product)
    close = jnp.abs(product - nearest) <= product * 2.0**-22
    return jnp.where(close, nearest, jnp.ceil(product)).astype(jnp.int32)
