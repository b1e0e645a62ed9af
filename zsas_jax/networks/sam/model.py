"""SAM: an image encoder, a prompt encoder and a mask decoder, and the two functions to run them.

Names of attributes are those of Meta's checkpoints.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Num

from zsas_jax.networks.sam.config import SamConfig
from zsas_jax.networks.sam.image_encoder import ImageEncoder
from zsas_jax.networks.sam.mask_decoder import MaskDecoder
from zsas_jax.networks.sam.prompt_encoder import PromptEncoder
from zsas_jax.ops.position import resample_positions


class Sam(nnx.Module):
    """The parameters of a Segment Anything model; run it with the functions of this module."""

    def __init__(self, config: SamConfig, *, param_dtype=jnp.float32, rngs: nnx.Rngs):
        common = {"param_dtype": param_dtype, "rngs": rngs}
        self.config = config
        self.image_encoder = ImageEncoder(config, **common)
        self.prompt_encoder = PromptEncoder(config, **common)
        self.mask_decoder = MaskDecoder(config, **common)


def resized(sam: Sam, image_size: int) -> Sam:
    """The same network for another input frame: its learned positions are resampled bilinearly.

    A short training run at the new size makes up for what the resampling loses.

    Raises:
        ConfigError: an `image_size` (pixels) that is not a multiple of the patch size.
    """
    config = dataclasses.replace(sam.config, image_size=image_size)
    dtype, grid = sam.prompt_encoder.dtype, config.grid_size
    abstract = nnx.eval_shape(lambda: Sam(config, param_dtype=dtype, rngs=nnx.Rngs(0)))
    graphdef, shapes = nnx.split(abstract)

    def fit(old: jax.Array, new: jax.ShapeDtypeStruct) -> jax.Array:
        if old.shape == new.shape:
            return old
        if old.ndim == 4:  # absolute positions [1, grid, grid, width]
            return resample_positions(old[0], grid, grid, "bilinear")[None]
        # a relative-position table [2 grid - 1, head width]
        return resample_positions(old[:, None], new.shape[0], 1, "bilinear")[:, 0]

    return nnx.merge(graphdef, jax.tree.map(fit, nnx.state(sam), shapes))


class MaskPrediction(NamedTuple):
    """Masks of every region: low-resolution logits and the IoU that SAM predicts for each."""

    logits: Float[Array, "b r m h4 w4"]
    iou: Float[Array, "b r m"]


def encode_image(sam: Sam, pixels: Float[Array, "b height width 3"]) -> Float[Array, "b h w c"]:
    """Embeds normalised pixels, zero-padded right and below to SAM's input frame.

    Sides must be multiples of the patch size; other sizes than the configured square are allowed.
    Computes in the dtype of the parameters.

    Raises:
        ValueError: a side that is not a multiple of the patch size.
    """
    return sam.image_encoder(pixels.astype(sam.prompt_encoder.dtype))


def decode_masks(
    sam: Sam,
    image_embedding: Float[Array, "b h w c"],
    points: Float[Array, "b r n 2"] | None = None,
    point_labels: Num[Array, "b r n"] | None = None,
    point_valid: Bool[Array, "b r n"] | None = None,
    boxes: Float[Array, "b r 4"] | None = None,
    mask_input: Float[Array, "b r h4 w4"] | None = None,
    multimask: bool | None = True,
) -> MaskPrediction:
    """Decodes R regions of each image, each from its own points, box and mask logits.

    Points and boxes are xy pixels of SAM's input frame. Labels: 1 positive, 0 negative, -1 SAM's
    padding. Points that are not valid have no effect at all; `point_valid` None means all are.
    SAM's own padding point is appended exactly when points are given and boxes are not.
    `multimask` True gives SAM's three masks, False its single one, None all four, single first.

    Raises:
        ValueError: points without labels.
    """
    encoder, dtype = sam.prompt_encoder, sam.prompt_encoder.dtype
    batch, height, width, channels = image_embedding.shape
    grid = (height, width)
    clicks = None
    if points is not None:
        if point_labels is None:
            raise ValueError("SAM's points need point_labels: 1 positive, 0 negative, -1 padding.")
        if point_valid is None:
            point_valid = jnp.ones(points.shape[:3], bool)
        clicks = (points, point_labels, point_valid)
    sparse = encoder(clicks, boxes, grid)
    if sparse is None:
        regions = 1 if mask_input is None else mask_input.shape[1]
        sparse = (
            jnp.zeros((batch, regions, 0, channels), dtype),
            jnp.zeros((batch, regions, 0), bool),
        )
    if mask_input is None:
        dense = encoder.no_mask_embed.embedding[...][0]
    else:
        dense = encoder.embed_masks(mask_input)
    masks = {True: slice(1, None), False: slice(0, 1), None: slice(0, None)}[multimask]
    image = image_embedding.astype(dtype)[:, None] + dense
    logits, iou = sam.mask_decoder(
        image, encoder.pe_layer.grid(*grid).astype(dtype), *sparse, masks
    )
    return MaskPrediction(logits, iou)
