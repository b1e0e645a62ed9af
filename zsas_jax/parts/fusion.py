"""Steps of fusing a rough map with SAM's masks. Functions handle one image; `jax.vmap` over images.

Formulas are the same for every image, prompted or not, so that scores of different images stay
comparable.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def accumulate_masks(
    combine: Callable[[Array, Array, Array], Array],
    logits: Float[Array, "r m lh lw"],
    confidence: Float[Array, "r m"],
    upscale: tuple[Float[Array, "h lh"], Float[Array, "w lw"]],
) -> Float[Array, "h w"]:
    """Upscales one mask after the other, so that memory does not grow with their number.

    Args:
        combine: (result so far, upscaled logits, confidence) -> result; it starts with zeros.
        logits: low-resolution masks.
        confidence: of each mask, 0 for invalid ones.
        upscale: matrices that take low-resolution logits to the photo's rows and columns.
    """
    rows, columns = upscale

    def step(total: Array, mask_and_score: tuple[Array, Array]) -> tuple[Array, None]:
        mask, score = mask_and_score
        highest = jax.lax.Precision.HIGHEST
        mask = jnp.einsum("yi,ij,xj->yx", rows, mask, columns, precision=highest)
        return combine(total, mask, score), None

    start = jnp.zeros((rows.shape[0], columns.shape[0]), rows.dtype)
    masks = logits.reshape(-1, *logits.shape[2:]).astype(rows.dtype)
    return jax.lax.scan(step, start, (masks, confidence.reshape(-1).astype(rows.dtype)))[0]


def min_max(values: Float[Array, "h w"], inside: Bool[Array, "h w"]) -> Float[Array, "h w"]:
    """Stretches the values inside the image to [0, 1]; a constant map becomes zeros."""
    low = jnp.min(values, where=inside, initial=jnp.inf)
    high = jnp.max(values, where=inside, initial=-jnp.inf)
    span = high - low
    return jnp.where(span > 0, (values - low) / jnp.where(span > 0, span, 1), 0)
