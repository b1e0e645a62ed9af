"""Multi-level Mask Refinement (MMR, ClipSAM section 3.3): boxes and shared random points."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from zsas_jax.config import PipelineConfig
from zsas_jax.prompting.cascade import Masks
from zsas_jax.prompting.points import PointPrompts, random_points
from zsas_jax.prompting.regions import Regions, connected_components, largest_regions
from zsas_jax.sam.model import Sam, decode_masks


def spatial_prompts(
    rough: Float[Array, "side side"],
    inside: Bool[Array, "side side"],
    key: PRNGKeyArray,
    config: PipelineConfig,
) -> tuple[PointPrompts, Regions]:
    """The prompt set S of one image: a box per region, and m points that all boxes share.

    The foreground is where the rough map exceeds the threshold (Eq. 7); boxes surround its largest
    8-connected components, points are drawn from it without replacement.
    """
    foreground = inside & (rough > config.rough_threshold)
    regions = largest_regions(connected_components(foreground), config.mmr_boxes)
    points, valid = random_points(key, foreground, config.mmr_points)
    shape = (config.mmr_boxes, config.mmr_points)
    prompts = PointPrompts(
        jnp.broadcast_to(points, (*shape, 2)),
        jnp.ones(shape, jnp.int32),
        valid & regions.valid[:, None],
    )
    return prompts, regions


def refined_masks(
    sam: Sam,
    embedding: Float[Array, "b gh gw c"],
    prompts: PointPrompts,
    regions: Regions,
) -> Masks:
    """SAM's three masks and scores of every box with the shared points (Eq. 8), M = 3."""
    logits, iou = decode_masks(sam, embedding, *prompts, boxes=regions.boxes)
    iou = jnp.where(regions.valid[..., None], jnp.clip(iou.astype(jnp.float32), 0, 1), 0)
    logits = jax.lax.convert_element_type(logits, jnp.float32)
    return Masks(logits, iou, iou, regions.boxes, regions.valid)
