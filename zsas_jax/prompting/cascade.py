"""Cascaded Prompts for SAM (CPS, arXiv 2510.11028): points, then the mask, then the box."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zsas_jax.config import PipelineConfig
from zsas_jax.prompting.points import PointPrompts
from zsas_jax.prompting.regions import Regions, mask_boxes
from zsas_jax.sam.model import MaskPrediction, Sam, decode_masks


class Masks(NamedTuple):
    """SAM's masks of every region: low-resolution logits, predicted IoU cut to [0, 1] (0 where a
    region is invalid), what the fusion multiplies each mask by, and the boxes that were prompted
    in pixels of the frame, None where none was.
    """

    logits: Float[Array, "b r m h w"]
    iou: Float[Array, "b r m"]
    confidence: Float[Array, "b r m"]
    boxes: Float[Array, "b r 4"] | None
    valid: Bool[Array, "b r"]


def cascade_masks(
    sam: Sam,
    embedding: Float[Array, "b gh gw c"],
    prompts: PointPrompts,
    regions: Regions,
    rough: Float[Array, "b side side"],
    frame: Int[Array, "b 2"],
    config: PipelineConfig,
) -> Masks:
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
        config: `cps_stages`, `box_margin` and `cascade_mask_confidence`.
    """
    boxes = None
    best = _best(decode_masks(sam, embedding, *prompts))
    if config.cps_stages >= 2:
        best = _best(decode_masks(sam, embedding, *prompts, mask_input=best.logits[:, :, 0]))
    if config.cps_stages >= 3:
        logits = best.logits[:, :, 0]
        side = sam.config.image_size
        boxes = boxes_of_masks(logits, regions.boxes, frame, side, config.box_margin)
        best = _best(decode_masks(sam, embedding, *prompts, boxes=boxes, mask_input=logits))
    iou = jnp.where(regions.valid[..., None], jnp.clip(best.iou.astype(jnp.float32), 0, 1), 0)
    confidence = iou
    if config.cascade_mask_confidence == "iou_times_rough":
        highest = jnp.max(rough[:, None], axis=(2, 3), where=regions.masks, initial=0)
        confidence = iou * highest[..., None]
    return Masks(best.logits.astype(jnp.float32), iou, confidence, boxes, regions.valid)


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
