"""SAM around a rough map: embedding, masks of regions, and what refiners share."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8

from zsas_jax.networks.sam import Sam, encode_image, normalize_pixels
from zsas_jax.ops.resize import resize_pillow
from zsas_jax.ops.selection import map_where
from zsas_jax.parts.frames import frames_of, inside_mask, map_in_frame, upscale_matrices
from zsas_jax.parts.points import PointPrompts
from zsas_jax.parts.types import Boxes, Masks, Photos, Points, Refined, Rough, Stage


class RegionMasks(NamedTuple):
    """SAM's masks of every region: low-resolution logits, predicted IoU cut to [0, 1] (0 where a
    region is invalid), what the fusion multiplies each mask by, and the boxes that were prompted
    in pixels of the frame, None where none was.
    """

    logits: Float[Array, "b r m h w"]
    iou: Float[Array, "b r m"]
    confidence: Float[Array, "b r m"]
    boxes: Float[Array, "b r 4"] | None
    valid: Bool[Array, "b r"]


class Framed(NamedTuple):
    """What prompts are made from, in SAM's input frame."""

    rough: Float[Array, "b side side"]
    inside: Bool[Array, "b side side"]
    embedding: Float[Array, "b gh gw c"]
    frame: Int[Array, "b 2"]
    keys: Array


def embed_photos(
    sam: Sam, images: UInt8[Array, "b h w 3"], sizes: Int[Array, "b 2"], frame: Int[Array, "b 2"]
) -> Float[Array, "b gh gw c"]:
    """SAM's image embedding; `frame` as `frames_of` gives it."""
    side = sam.config.image_size
    levels = resize_pillow(images, sizes, frame, (side, side), "bilinear")
    pixels = normalize_pixels(levels, sam.config)
    # Zeros after normalising: the padding has the mean colour.
    pixels = jnp.where(inside_mask(frame, (side, side))[..., None], pixels, 0)
    return encode_image(sam, pixels)


def refine_with_sam(
    sam: Sam,
    photos: Photos,
    rough: Rough,
    prompt_and_decode: Callable[[Framed], tuple[PointPrompts, RegionMasks]],
    fusion: Callable[..., Float[Array, "h w"]],
    *,
    threshold: float,
    at_a_time: int,
) -> Refined:
    """The rough map, refined by SAM's masks for a method's prompts.

    Args:
        sam: the network.
        photos: the batch.
        rough: the head's map.
        prompt_and_decode: the prompts of each image and their masks.
        fusion: (rough canvas, logits, confidence, upscale matrices) -> map of one image.
        threshold: a photo whose rough map stays below has no prompts.
        at_a_time: photos that SAM takes at a time, see `Compute.refine_at_a_time`.
    """
    images, sizes, keys = photos
    side, canvas = sam.config.image_size, (images.shape[1], images.shape[2])
    frame = frames_of(sizes, side)
    rough_frame, inside = map_in_frame(rough.grid, frame, side)

    def upscale(sizes: Array, frame: Array, masks: RegionMasks):
        *_, rows, columns = masks.logits.shape
        return upscale_matrices(canvas, sizes, frame, (rows, columns), side)

    def refine(operands):
        images, sizes, keys, frame, rough_canvas, rough_frame, inside = operands
        embedding = embed_photos(sam, images, sizes, frame)
        prompts, masks = prompt_and_decode(Framed(rough_frame, inside, embedding, frame, keys))
        matrices = upscale(sizes, frame, masks)
        fused = jax.vmap(fusion)(rough_canvas, masks.logits, masks.confidence, matrices)
        return fused, prompts, masks

    operands = (images, sizes, keys, frame, rough.canvas, rough_frame, inside)
    if at_a_time:
        shapes = jax.eval_shape(refine, operands)
        blank, prompts, masks = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        # Without a valid prompt every score is 0: what the fusion makes of one empty mask.
        empty = jnp.zeros((1, 1, *masks.logits.shape[3:])), jnp.zeros((1, 1))
        matrices = upscale(sizes, frame, masks)
        unrefined = jax.vmap(lambda values, up: fusion(values, *empty, up))(rough.canvas, matrices)
        default = (unrefined.astype(blank.dtype), prompts, masks)
        needed = jnp.max(rough_frame, axis=(1, 2), where=inside, initial=0) >= threshold
        found = map_where(refine, needed, operands, default, min(at_a_time, len(images)))
    else:
        found = refine(operands)
    fused, prompts, masks = found
    return Refined(fused, _stages(prompts, masks, sizes, frame, side))


def _stages(
    prompts: PointPrompts,
    masks: RegionMasks,
    sizes: Int[Array, "b 2"],
    frame: Int[Array, "b 2"],
    side: int,
) -> dict[str, Stage]:
    """Prompts in canvas pixels, such that SAM's own transform takes them back into its frame."""
    ratio = (sizes / frame)[:, None, None, ::-1].astype(jnp.float32)
    stages: dict[str, Stage] = {
        "prompts": Points(prompts.points * ratio, prompts.labels, prompts.valid)
    }
    if masks.boxes is not None:
        corners = jnp.concatenate([ratio, ratio], axis=-1)[:, 0]
        stages["boxes"] = Boxes(masks.boxes * corners, masks.valid)
    extent = (frame / side).astype(jnp.float32)
    stages["masks"] = Masks(masks.logits, masks.iou, extent, masks.valid)
    return stages
