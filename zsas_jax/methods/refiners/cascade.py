"""Cascaded Prompts for SAM (arXiv 2510.11028): points of the rough map (PPG), then the mask, then
the box (CPS).
"""

import dataclasses
from functools import partial
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from zsas_jax.checkpoints.bundle import Compute
from zsas_jax.config import Between, check_fields
from zsas_jax.methods.base import Photos, Refined, Refiner, Rough
from zsas_jax.networks import Networks
from zsas_jax.networks.sam import MaskPrediction, Sam, decode_masks
from zsas_jax.parts.frames import inside_mask
from zsas_jax.parts.fusion import accumulate_masks, min_max
from zsas_jax.parts.points import (
    Foreground,
    PointPrompts,
    PointRules,
    co_feature_points,
    extreme_foreground,
)
from zsas_jax.parts.regions import Regions, connected_components, largest_regions, mask_boxes
from zsas_jax.parts.sam_masks import Framed, RegionMasks, refine_with_sam


@dataclasses.dataclass(frozen=True)
class Cascade:
    """Lengths are fractions of the side of SAM's frame (1024 pixels for the public models)."""

    foreground: Foreground = Foreground()
    points: PointRules = PointRules()
    regions: Annotated[int, Between(1, 1000)] = 5
    """The largest connected components, each with prompts of its own. Not specified by the
    paper."""
    stages: Annotated[int, Between(1, 3)] = 3
    """Stages of CPS: 1 points, 2 the previous mask as well, 3 the box of that mask as well."""
    box_margin: Annotated[float, Between(0, 1)] = 0.02
    """Margin around the box of the stage-2 mask. Not specified by the paper."""
    rough_weight: Annotated[float, Between(0, 1)] = 0.5
    """Weight of the rough map against the best mask. Not specified by the paper."""
    mask_confidence: Literal["iou", "iou_times_rough"] = "iou"
    """What a mask is multiplied by: SAM's predicted IoU, or that times the highest rough value of
    its region: a sharp mask of what is hardly suspicious then raises no false alarm. Not specified
    by the paper."""
    normalization: Literal["none", "min_max"] = "none"
    """Per-image min-max of the fused map; it destroys the ranking of images."""

    def __post_init__(self):
        check_fields(self, "refiner")


def refine(
    networks: Networks, photos: Photos, rough: Rough, config: Cascade, compute: Compute
) -> Refined:
    """PPG's points for every region, CPS's stages through SAM's decoder, the weighted mean."""
    sam: Sam = networks.sam

    def prompts_of(rough: Array, inside: Array, embedding: Array):
        level = config.foreground
        foreground = extreme_foreground(rough, inside, level.threshold, level.quantile)
        regions = largest_regions(connected_components(foreground), config.regions)
        points = co_feature_points(rough, foreground, inside, regions, embedding, config.points)
        return points, regions

    def prompt_and_decode(framed: Framed):
        prompts, regions = jax.vmap(prompts_of)(framed.rough, framed.inside, framed.embedding)
        embedding, frame = framed.embedding, framed.frame
        return prompts, cascade_masks(sam, embedding, prompts, regions, framed.rough, frame, config)

    refined = refine_with_sam(
        sam,
        photos,
        rough,
        prompt_and_decode,
        partial(fuse, rough_weight=config.rough_weight),
        threshold=config.foreground.threshold,
        at_a_time=compute.refine_at_a_time,
    )
    if config.normalization == "min_max":
        inside = inside_mask(photos.sizes, (refined.fused.shape[1], refined.fused.shape[2]))
        refined = refined._replace(fused=jax.vmap(min_max)(refined.fused, inside))
    return refined


def cascade_masks(
    sam: Sam,
    embedding: Float[Array, "b gh gw c"],
    prompts: PointPrompts,
    regions: Regions,
    rough: Float[Array, "b side side"],
    frame: Int[Array, "b 2"],
    config: Cascade,
) -> RegionMasks:
    """Runs SAM's decoder up to three times per region on one image embedding, M = 1.

    Stage 1 prompts the points; stage 2 also the best mask's logits; stage 3 also the box around
    that mask (an empty mask keeps its region's box). Best is by predicted IoU.

    Args:
        sam: the network.
        embedding: SAM's image embedding.
        prompts: [B, R, N] points in the frame.
        regions: the regions they were made for, batched.
        rough: the rough map in the frame.
        frame: (height, width) of each image inside SAM's input frame.
        config: `stages`, `box_margin` and `mask_confidence`.
    """
    boxes = None
    best = _best(decode_masks(sam, embedding, *prompts))
    if config.stages >= 2:
        best = _best(decode_masks(sam, embedding, *prompts, mask_input=best.logits[:, :, 0]))
    if config.stages >= 3:
        logits = best.logits[:, :, 0]
        side = sam.config.image_size
        boxes = boxes_of_masks(logits, regions.boxes, frame, side, config.box_margin)
        best = _best(decode_masks(sam, embedding, *prompts, boxes=boxes, mask_input=logits))
    iou = jnp.where(regions.valid[..., None], jnp.clip(best.iou.astype(jnp.float32), 0, 1), 0)
    confidence = iou
    if config.mask_confidence == "iou_times_rough":
        highest = jnp.max(rough[:, None], axis=(2, 3), where=regions.masks, initial=0)
        confidence = iou * highest[..., None]
    return RegionMasks(best.logits.astype(jnp.float32), iou, confidence, boxes, regions.valid)


def _best(prediction: MaskPrediction) -> MaskPrediction:
    """Of each region's masks the one with the highest predicted IoU."""
    index = jnp.argmax(prediction.iou, axis=-1, keepdims=True)
    return MaskPrediction(
        jnp.take_along_axis(prediction.logits, index[..., None, None], axis=2),
        jnp.take_along_axis(prediction.iou, index, axis=2),
    )


def boxes_of_masks(
    logits: Float[Array, "b r h w"],
    fallback: Float[Array, "b r 4"],
    frame: Int[Array, "b 2"],
    side: int,
    margin: float,
) -> Float[Array, "b r 4"]:
    """Boxes (x0, y0, x1, y1) in frame pixels around low-resolution masks, inside the image.

    `margin` is a fraction of the frame's side. A mask that is empty inside the image has the
    fallback box.
    """
    height, width = logits.shape[-2:]
    cell_y, cell_x = side / height, side / width
    rows = jnp.arange(height) * cell_y < frame[:, None, 0]
    columns = jnp.arange(width) * cell_x < frame[:, None, 1]
    inside = (rows[:, :, None] & columns[:, None, :])[:, None]
    cells, found = mask_boxes((logits > 0) & inside)
    scale = jnp.array([cell_x, cell_y, cell_x, cell_y])
    # The last cell reaches to its own last pixel.
    boxes = cells * scale + jnp.array([0, 0, cell_x - 1, cell_y - 1])
    boxes = boxes + margin * side * jnp.array([-1, -1, 1, 1])
    last = (frame[:, None, ::-1] - 1).astype(jnp.float32)
    boxes = jnp.clip(boxes, 0, jnp.concatenate([last, last], axis=-1))
    return jax.lax.stop_gradient(jnp.where(found[..., None], boxes, fallback))


def fuse(
    rough: Float[Array, "h w"],
    logits: Float[Array, "r m lh lw"],
    confidence: Float[Array, "r m"],
    upscale: tuple[Float[Array, "h lh"], Float[Array, "w lw"]],
    rough_weight: float = 0.5,
) -> Float[Array, "h w"]:
    """O = w S_a + (1 - w) max_r s_r sigmoid(l_r); without prompts (all s_r 0) that is w S_a.

    w is `rough_weight`, s_r `confidence`, which `Cascade.mask_confidence` names; `upscale` holds
    the matrices that take low-resolution logits to the photo's rows and columns.
    """
    masks = accumulate_masks(
        lambda best, mask, score: jnp.maximum(best, score * jax.nn.sigmoid(mask)),
        logits,
        confidence,
        upscale,
    )
    return rough_weight * rough + (1 - rough_weight) * masks


REFINER = Refiner(
    "cascade",
    "CLIP-SAM collaboration with cascaded prompts (Hou et al. 2025, arXiv 2510.11028)",
    Cascade,
    lambda config: ("sam",),
    refine,
)
