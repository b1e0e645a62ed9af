"""Zero-shot anomaly segmentation as one jitted program: raw photos in, anomaly maps out.

    photos -> CLIP -> rough map S_a -> foreground -> prompts -> SAM -> fusion -> map and score

A photo lies in the top left corner of its canvas. Three frames occur: the canvas with the photo's
own pixels; the patch grid, CLIP's view of the stretched photo; and SAM's square input frame, in
whose top left corner the photo lies scaled, where prompts are made.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt8, UInt32

from zsas_jax import sam as sam_api
from zsas_jax.config import PipelineConfig
from zsas_jax.errors import ImageError
from zsas_jax.fusion import cascade_fusion, clipsam_fusion, image_score, min_max
from zsas_jax.model import Model
from zsas_jax.ops.layers import cast_parameters
from zsas_jax.ops.position import resampling_matrix
from zsas_jax.ops.resize import bilinear_matrix, resize_bilinear, resize_pillow
from zsas_jax.ops.selection import map_where
from zsas_jax.prompting.cascade import Masks, cascade_masks
from zsas_jax.prompting.mmr import refined_masks, spatial_prompts
from zsas_jax.prompting.points import PointPrompts, co_feature_points, extreme_foreground
from zsas_jax.prompting.regions import connected_components, largest_regions
from zsas_jax.rough import Rough, rough_segmentation


class Segmentation(NamedTuple):
    """What `segment` returns; the optional fields are None unless the config asks for them.

    Maps are 0 outside a photo's true size. `boxes` is None too where SAM was prompted with none
    (cascade with fewer than three stages). R regions have N points and M masks each; points and
    boxes (x0, y0, x1, y1) are in canvas pixels, such that SAM's own transform takes them back into
    its input frame. Mask logits are SAM's low-resolution ones on that frame.
    """

    anomaly_map: Float[Array, "b h w"]
    image_score: Float[Array, " b"]
    rough_map: Float[Array, "b h w"]
    points: Float[Array, "b r n 2"] | None = None
    point_labels: Int[Array, "b r n"] | None = None
    point_valid: Bool[Array, "b r n"] | None = None
    boxes: Float[Array, "b r 4"] | None = None
    region_valid: Bool[Array, "b r"] | None = None
    mask_logits: Float[Array, "b r m lh lw"] | None = None
    iou: Float[Array, "b r m"] | None = None


Method = Callable[..., Segmentation]


# The methods. Each is a pure function (model, images, sizes, text, keys, config) -> Segmentation.


def clip_method(model, images, sizes, text, keys, config) -> Segmentation:
    """Prompt-ensemble similarity of CLIP's last patch tokens alone."""
    rough = rough_segmentation(model, images, sizes, text, "similarity", config)
    return _finish(rough, rough.canvas, sizes, config)


def umci_method(model, images, sizes, text, keys, config) -> Segmentation:
    """UMCI's rough map alone (ClipSAM's "w/o MMR")."""
    rough = rough_segmentation(model, images, sizes, text, "umci", config)
    return _finish(rough, rough.canvas, sizes, config)


def clipsam_method(model, images, sizes, text, keys, config) -> Segmentation:
    """ClipSAM: the rough map, MMR's boxes and random points, SAM's masks, Eq. 9."""

    def prompt_and_decode(sam, rough, inside, embedding, frame, keys):
        seeds = jax.vmap(jax.random.key)(keys)
        prompts, regions = jax.vmap(partial(spatial_prompts, config=config))(rough, inside, seeds)
        return prompts, refined_masks(sam, embedding, prompts, regions)

    # What min-max is to stretch must not be cut before.
    limit = jnp.inf if config.normalization == "min_max" else 1.0
    fusion = partial(clipsam_fusion, divisor=config.clipsam_divisor, limit=limit)
    return _refine(model, images, sizes, text, keys, config, prompt_and_decode, fusion)


def cascade_method(model, images, sizes, text, keys, config) -> Segmentation:
    """The rough map, PPG's points for every region, CPS's three stages through SAM's decoder."""

    def prompts_of(rough: Array, inside: Array, embedding: Array):
        foreground = extreme_foreground(rough, inside, config.rough_threshold, config.quantile)
        regions = largest_regions(connected_components(foreground), config.regions)
        points = co_feature_points(rough, foreground, inside, regions, embedding, config)
        return points, regions

    def prompt_and_decode(sam, rough, inside, embedding, frame, keys):
        prompts, regions = jax.vmap(prompts_of)(rough, inside, embedding)
        return prompts, cascade_masks(sam, embedding, prompts, regions, rough, frame, config)

    fusion = partial(cascade_fusion, rough_weight=config.cascade_rough_weight)
    return _refine(model, images, sizes, text, keys, config, prompt_and_decode, fusion)


METHODS: dict[str, Method] = {
    "cascade": cascade_method,
    "clipsam": clipsam_method,
    "umci": umci_method,
    "clip": clip_method,
}


def _segment(
    model: Model,
    images: UInt8[Array, "b h w 3"],
    sizes: Int[Array, "b 2"],
    text: Float[Array, "b 2 d"],
    keys: UInt32[Array, " b"],
    config: PipelineConfig,
) -> Segmentation:
    """Anomaly maps and scores of a batch of photos by the method that `config` names; jitted.

    Args:
        model: the networks, a pytree; those that the method does not use may be None.
        images: RGB photos, each in the top left corner of its canvas.
        sizes: true (height, width) of each photo, pixels; what lies beyond is not looked at.
        text: L2-normalised features of each photo's category: normal, abnormal.
        keys: one seed per photo, for the random points of `clipsam`.
        config: the settings, static: another config is another program.

    Raises:
        ConfigError: the method needs a network that the model lacks.
        ImageError: images of another dtype than uint8.
    """
    if images.dtype != jnp.uint8:
        raise ImageError(f"images are {images.dtype}: expected uint8, levels from 0 to 255")
    model = cast_parameters(model, config.compute_dtype)
    return METHODS[config.method](model, images, jnp.maximum(sizes, 1), text, keys, config)


segment = jax.jit(_segment, static_argnames="config")


# The steps that methods share.


def _refine(model, images, sizes, text, keys, config, prompt_and_decode, fusion) -> Segmentation:
    """The rough map, refined by SAM's masks for the prompts of a method.

    `prompt_and_decode(sam, rough, inside, embedding, frame, keys)` gives (PointPrompts, Masks) and
    `fusion(rough, logits, confidence, upscale)` the map of one image.
    """
    sam = model.require("sam", config.method)
    rough = rough_segmentation(model, images, sizes, text, config.rough, config)
    side = sam.config.image_size
    frame = frames_of(sizes, side)
    rough_frame, inside = rough_in_frame(rough, frame, side)

    def refine(operands):
        images, sizes, keys, frame, canvas, rough_frame, inside = operands
        embedding = embed_for_sam(sam, images, sizes, frame)
        prompts, masks = prompt_and_decode(sam, rough_frame, inside, embedding, frame, keys)
        upscale = upscale_matrices(images, sizes, frame, masks, sam)
        return jax.vmap(fusion)(canvas, masks.logits, masks.confidence, upscale), prompts, masks

    operands = (images, sizes, keys, frame, rough.canvas, rough_frame, inside)
    if config.refine_at_a_time:
        shapes = jax.eval_shape(refine, operands)
        blank, prompts, masks = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        # Without a valid prompt every score is 0: what the fusion makes of one empty mask.
        empty = jnp.zeros((1, 1, *masks.logits.shape[3:])), jnp.zeros((1, 1))
        upscale = upscale_matrices(images, sizes, frame, masks, sam)
        unrefined = jax.vmap(lambda canvas, up: fusion(canvas, *empty, up))(rough.canvas, upscale)
        default = (unrefined.astype(blank.dtype), prompts, masks)
        highest = jnp.max(rough_frame, axis=(1, 2), where=inside, initial=0)
        needed = highest >= config.rough_threshold
        fused, prompts, masks = map_where(
            refine, needed, operands, default, min(config.refine_at_a_time, len(images))
        )
    else:
        fused, prompts, masks = refine(operands)
    return _finish(rough, fused, sizes, config, prompts, masks, frame)


def frames_of(sizes: Int[Array, "b 2"], side: int) -> Int[Array, "b 2"]:
    """Each photo's (height, width) in SAM's square input frame."""
    return jnp.stack(sam_api.frame_size(sizes[:, 0], sizes[:, 1], side), axis=-1)


def embed_for_sam(
    sam: sam_api.Sam,
    images: UInt8[Array, "b h w 3"],
    sizes: Int[Array, "b 2"],
    frame: Int[Array, "b 2"],
) -> Float[Array, "b gh gw c"]:
    """SAM's image embedding; `frame` as `frames_of` gives it."""
    side = sam.config.image_size
    levels = resize_pillow(images, sizes, frame, (side, side), "bilinear")
    pixels = sam_api.normalize_pixels(levels, sam.config)
    # Zeros after normalising: the padding has the mean colour.
    pixels = jnp.where(inside_mask(frame, (side, side))[..., None], pixels, 0)
    return sam_api.encode_image(sam, pixels)


def rough_in_frame(
    rough: Rough, frame: Int[Array, "b 2"], side: int
) -> tuple[Float[Array, "b side side"], Bool[Array, "b side side"]]:
    """S_a in SAM's input frame, and where the photo is in it. Prompts carry no gradient."""
    grid = _sides(rough.grid)
    rough_frame = jax.vmap(lambda x, size: resize_bilinear(x, grid, size, (side, side)))(
        jax.lax.stop_gradient(rough.grid).astype(jnp.float32), frame
    )
    return rough_frame, inside_mask(frame, (side, side))


def inside_mask(sizes: Int[Array, "b 2"], shape: tuple[int, int]) -> Bool[Array, "b h w"]:
    """True in the top left `sizes` (height, width) of a canvas of `shape`."""
    rows = jnp.arange(shape[0]) < sizes[:, 0, None]
    columns = jnp.arange(shape[1]) < sizes[:, 1, None]
    return rows[:, :, None] & columns[:, None, :]


def upscale_matrices(
    images: UInt8[Array, "b h w 3"],
    sizes: Int[Array, "b 2"],
    frame: Int[Array, "b 2"],
    masks: Masks,
    sam: sam_api.Sam,
) -> tuple[Float[Array, "b h lh"], Float[Array, "b w lw"]]:
    """What takes low-resolution logits to the photo's own rows and columns.

    SAM's order (bilinear to its input frame, crop, bilinear to the photo) is linear along each
    axis, so that both steps are one product of matrices.
    """
    side = sam.config.image_size

    def matrix(axis: int) -> Array:
        low = masks.logits.shape[3 + axis]
        to_frame = jnp.asarray(resampling_matrix(low, side, "bilinear"), jnp.float32)
        to_photo = jax.vmap(lambda i, o: bilinear_matrix(i, o, side, images.shape[1 + axis]))(
            frame[:, axis], sizes[:, axis]
        )
        return jnp.einsum("bof,fl->bol", to_photo, to_frame, precision=jax.lax.Precision.HIGHEST)

    return matrix(0), matrix(1)


def _finish(
    rough: Rough,
    fused: Float[Array, "b h w"],
    sizes: Int[Array, "b 2"],
    config: PipelineConfig,
    prompts: PointPrompts | None = None,
    masks: Masks | None = None,
    frame: Int[Array, "b 2"] | None = None,
) -> Segmentation:
    """Cuts the map to the photo, scores it, and adds the outputs that the config asks for."""
    inside = inside_mask(sizes, _sides(fused))
    if masks is not None and config.normalization == "min_max":
        fused = jax.vmap(min_max)(fused, inside)
    fused = jnp.where(inside, jnp.clip(fused.astype(jnp.float32), 0, 1), 0)
    score_of = partial(
        image_score, top_fraction=config.score_top_fraction, map_weight=config.score_map_weight
    )
    score = jax.vmap(score_of)(fused, inside, rough.class_probability.astype(jnp.float32))
    rough_map = jnp.where(inside, jnp.clip(rough.canvas.astype(jnp.float32), 0, 1), 0)
    result = Segmentation(fused, score, rough_map)
    if prompts is None or masks is None or frame is None:
        return result
    if config.return_prompts:
        ratio = (sizes / frame)[:, None, None, ::-1].astype(jnp.float32)
        boxes = masks.boxes
        if boxes is not None:
            boxes = boxes * jnp.concatenate([ratio, ratio], axis=-1)[:, 0]
        result = result._replace(
            points=prompts.points * ratio,
            point_labels=prompts.labels,
            point_valid=prompts.valid,
            boxes=boxes,
            region_valid=masks.valid,
        )
    if config.return_masks:
        result = result._replace(mask_logits=masks.logits, iou=masks.iou, region_valid=masks.valid)
    return result


def _sides(x: Array) -> tuple[int, int]:
    """Height and width of a batch of images or maps."""
    return x.shape[1], x.shape[2]
