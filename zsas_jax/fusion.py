"""Fusion of the rough map with SAM's masks, and the image score.

The formulas are the same for every image, prompted or not, so that scores of different images stay
comparable. Functions handle one image; `jax.vmap` over images.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from zsas_jax.ops.ranking import top_fraction_mean


def cascade_fusion(
    rough: Float[Array, "h w"],
    logits: Float[Array, "r m lh lw"],
    confidence: Float[Array, "r m"],
    upscale: tuple[Float[Array, "h lh"], Float[Array, "w lw"]],
    rough_weight: float = 0.5,
) -> Float[Array, "h w"]:
    """O = w S_a + (1 - w) max_r s_r sigmoid(l_r); without prompts (all s_r 0) that is w S_a.

    w is `rough_weight`, s_r `confidence`, which `PipelineConfig.cascade_mask_confidence` names;
    `upscale` holds the matrices that take low-resolution logits to the photo's rows and columns.
    """
    masks = _accumulate(
        lambda best, mask, score: jnp.maximum(best, score * jax.nn.sigmoid(mask)),
        logits,
        confidence,
        upscale,
    )
    return rough_weight * rough + (1 - rough_weight) * masks


def clipsam_fusion(
    rough: Float[Array, "h w"],
    logits: Float[Array, "r m lh lw"],
    iou: Float[Array, "r m"],
    upscale: tuple[Float[Array, "h lh"], Float[Array, "w lw"]],
    divisor: float = 4.0,
    limit: float = 1.0,
) -> Float[Array, "h w"]:
    """O = min(limit, (S_a + sum_ij s_ij [l_ij > 0]) / divisor) (ClipSAM, Eq. 9)."""
    masks = _accumulate(
        lambda total, mask, score: total + jnp.where(mask > 0, score, 0), logits, iou, upscale
    )
    return jnp.minimum(limit, (rough + masks) / divisor)


def _accumulate(
    combine: Callable[[Array, Array, Array], Array],
    logits: Float[Array, "r m lh lw"],
    iou: Float[Array, "r m"],
    upscale: tuple[Float[Array, "h lh"], Float[Array, "w lw"]],
) -> Float[Array, "h w"]:
    """Upscales one mask after the other, so that memory does not grow with their number."""
    rows, columns = upscale

    def step(total: Array, mask_and_score: tuple[Array, Array]) -> tuple[Array, None]:
        mask, score = mask_and_score
        highest = jax.lax.Precision.HIGHEST
        mask = jnp.einsum("yi,ij,xj->yx", rows, mask, columns, precision=highest)
        return combine(total, mask, score), None

    start = jnp.zeros((rows.shape[0], columns.shape[0]), rows.dtype)
    masks = logits.reshape(-1, *logits.shape[2:]).astype(rows.dtype)
    return jax.lax.scan(step, start, (masks, iou.reshape(-1).astype(rows.dtype)))[0]


def min_max(values: Float[Array, "h w"], inside: Bool[Array, "h w"]) -> Float[Array, "h w"]:
    """Stretches the values inside the image to [0, 1]; a constant map becomes zeros."""
    low = jnp.min(values, where=inside, initial=jnp.inf)
    high = jnp.max(values, where=inside, initial=-jnp.inf)
    span = high - low
    return jnp.where(span > 0, (values - low) / jnp.where(span > 0, span, 1), 0)


def image_score(
    anomaly_map: Float[Array, "h w"],
    inside: Bool[Array, "h w"],
    class_probability: Float[Array, ""],
    top_fraction: float = 0.005,
    map_weight: float = 0.5,
) -> Float[Array, ""]:
    """Mean of the map's highest values inside the image, and the class token's abnormality."""
    top = top_fraction_mean(anomaly_map, inside, top_fraction)
    return map_weight * top + (1 - map_weight) * class_probability
