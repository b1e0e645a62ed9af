"""Multi-level Mask Refinement (MMR, ClipSAM section 3.3): boxes and shared random points."""

import dataclasses
from functools import partial
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from zsas_jax.checkpoints.bundle import Compute
from zsas_jax.config import Between, check_fields
from zsas_jax.methods.base import Photos, Refined, Refiner, Rough
from zsas_jax.networks import Networks
from zsas_jax.networks.sam import Sam, decode_masks
from zsas_jax.parts.frames import inside_mask
from zsas_jax.parts.fusion import accumulate_masks, min_max
from zsas_jax.parts.points import PointPrompts, random_points
from zsas_jax.parts.regions import Regions, connected_components, largest_regions
from zsas_jax.parts.sam_masks import Framed, RegionMasks, refine_with_sam


@dataclasses.dataclass(frozen=True)
class Mmr:
    """Boxes of regions and random points that all of them share."""

    threshold: Annotated[float, Between(0, 1)] = 0.47
    """Foreground is above it (ClipSAM, Eq. 7 and Table 3)."""
    boxes: Annotated[int, Between(1, 1000)] = 10
    """One per connected component, the largest ones. q is not specified by the paper."""
    points: Annotated[int, Between(1, 1000)] = 10
    """Random foreground points shared by all boxes. m is not specified by the paper."""
    divisor: Annotated[float, Between(1)] = 4.0
    """What the sum of rough map and weighted masks is divided by before it is cut at 1 (the Norm of
    Eq. 9 is not specified)."""
    normalization: Literal["none", "min_max"] = "none"
    """Per-image min-max of the uncut sum, another reading of Norm; it destroys the ranking of
    images."""

    def __post_init__(self):
        check_fields(self, "refiner")


def refine(
    networks: Networks, photos: Photos, rough: Rough, config: Mmr, compute: Compute
) -> Refined:
    """MMR's boxes and random points, SAM's masks, Eq. 9."""
    sam: Sam = networks.sam

    def prompt_and_decode(framed: Framed):
        seeds = jax.vmap(jax.random.key)(framed.keys)
        prompts_of = partial(spatial_prompts, config=config)
        prompts, regions = jax.vmap(prompts_of)(framed.rough, framed.inside, seeds)
        return prompts, refined_masks(sam, framed.embedding, prompts, regions)

    # What min-max is to stretch must not be cut first.
    limit = jnp.inf if config.normalization == "min_max" else 1.0
    refined = refine_with_sam(
        sam,
        photos,
        rough,
        prompt_and_decode,
        partial(fuse, divisor=config.divisor, limit=limit),
        threshold=config.threshold,
        at_a_time=compute.refine_at_a_time,
    )
    if config.normalization == "min_max":
        inside = inside_mask(photos.sizes, (refined.fused.shape[1], refined.fused.shape[2]))
        refined = refined._replace(fused=jax.vmap(min_max)(refined.fused, inside))
    return refined


def spatial_prompts(
    rough: Float[Array, "side side"],
    inside: Bool[Array, "side side"],
    key: PRNGKeyArray,
    config: Mmr,
) -> tuple[PointPrompts, Regions]:
    """The prompt set S of one image: a box per region, and m points that all boxes share.

    The foreground is where the rough map exceeds the threshold (Eq. 7); boxes surround its largest
    8-connected components, points are drawn from it without replacement.
    """
    foreground = inside & (rough > config.threshold)
    regions = largest_regions(connected_components(foreground), config.boxes)
    points, valid = random_points(key, foreground, config.points)
    shape = (config.boxes, config.points)
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
) -> RegionMasks:
    """SAM's three masks and scores of every box with the shared points (Eq. 8), M = 3."""
    logits, iou = decode_masks(sam, embedding, *prompts, boxes=regions.boxes)
    iou = jnp.where(regions.valid[..., None], jnp.clip(iou.astype(jnp.float32), 0, 1), 0)
    logits = jax.lax.convert_element_type(logits, jnp.float32)
    return RegionMasks(logits, iou, iou, regions.boxes, regions.valid)


def fuse(
    rough: Float[Array, "h w"],
    logits: Float[Array, "r m lh lw"],
    iou: Float[Array, "r m"],
    upscale: tuple[Float[Array, "h lh"], Float[Array, "w lw"]],
    divisor: float = 4.0,
    limit: float = 1.0,
) -> Float[Array, "h w"]:
    """O = min(limit, (S_a + sum_ij s_ij [l_ij > 0]) / divisor) (ClipSAM, Eq. 9)."""
    masks = accumulate_masks(
        lambda total, mask, score: total + jnp.where(mask > 0, score, 0), logits, iou, upscale
    )
    return jnp.minimum(limit, (rough + masks) / divisor)


REFINER = Refiner(
    "mmr",
    "ClipSAM, section 3.3 (Li et al. 2024)",
    Mmr,
    lambda config: ("sam",),
    refine,
)
