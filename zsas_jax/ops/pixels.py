"""Levels of pictures as networks take them."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


def in_levels(values: Sequence[float]) -> tuple[float, ...]:
    """Means or deviations that are stated for [0, 1], in levels of 0..255."""
    return tuple(255 * value for value in values)


def normalize(
    images: UInt8[Array, "b h w 3"], mean: Sequence[float], std: Sequence[float]
) -> Float[Array, "b h w 3"]:
    """Levels 0..255 to normalised pixels; `mean` and `std` are in the same levels."""
    return (images.astype(jnp.float32) - jnp.asarray(mean)) / jnp.asarray(std)
