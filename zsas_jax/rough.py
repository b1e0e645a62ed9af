"""The rough map S_a: what CLIP and UMCI say about each patch, before SAM sees anything."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from zsas_jax import clip as clip_api
from zsas_jax.clip import Clip, ClipConfig
from zsas_jax.config import PipelineConfig
from zsas_jax.errors import ConfigError
from zsas_jax.model import Model
from zsas_jax.ops.guided import guided_upsampling
from zsas_jax.ops.resize import resize_bilinear, resize_pillow
from zsas_jax.umci import Umci, UmciConfig, anomaly_probability


class Rough(NamedTuple):
    """CLIP's part: S_a on the patch grid and on the canvas, and the class token's verdict."""

    grid: Float[Array, "b gh gw"]
    canvas: Float[Array, "b h w"]
    class_probability: Float[Array, " b"]


def rough_segmentation(
    model: Model,
    images: UInt8[Array, "b h w 3"],
    sizes: Int[Array, "b 2"],
    text: Float[Array, "b 2 d"],
    kind: str,
    config: PipelineConfig,
) -> Rough:
    """S_a from CLIP: UMCI's abnormal probability, the similarity of last patches and text, or a
    mean of "both"; and the mean over the sizes and orientations that the config asks for.
    """
    clip = model.require("clip", config.method)
    umci = None if kind == "similarity" else model.require("umci", config.method)
    if umci is not None:
        check_stages(config, umci.config)
    grid = patch_grid(clip.config, config.clip_size)
    maps, probabilities = [], []
    for size, turns in config.clip_looks.items():
        looks, probability = _look(clip, umci, images, sizes, text, kind, config, size, turns)
        # All on the grid of the first size.
        _, rows, columns = looks[0].shape
        maps += [resize_bilinear(look, (rows, columns), grid, grid) for look in looks]
        probabilities.append(probability)
    rough = jnp.stack(maps).mean(axis=0)
    if config.rough_upsampling == "guided":
        canvas = guided_upsampling(
            rough, images, sizes, config.guided_radius, config.guided_epsilon
        )
    else:
        shape = images.shape[1], images.shape[2]
        canvas = jax.vmap(lambda x, s: resize_bilinear(x, grid, s, shape))(rough, sizes)
    return Rough(rough, canvas, jnp.concatenate(probabilities).mean(axis=0))


def check_stages(config: PipelineConfig, umci: UmciConfig) -> None:
    """Refuses `umci_stages` that this UMCI does not have.

    Raises:
        ConfigError: more than there are.
    """
    if config.umci_stages > len(umci.layers):
        raise ConfigError(
            f"pipeline.umci_stages is {config.umci_stages}: expected at most the "
            f"{len(umci.layers)} stages of this UMCI"
        )


def patch_grid(
    clip: ClipConfig,
    size: tuple[int, int],
    field: str = "CLIP's input (pipeline.clip_image_size, clip_more_sizes)",
) -> tuple[int, int]:
    """Patches (rows, columns) of an input of `size` (height, width), which `field` asks for.

    Raises:
        ConfigError: CLIP would not see the whole of it.
    """
    patch = clip.patch_size
    if any(side % patch for side in size):
        near = sorted({side // patch * patch + more for side in size for more in (0, patch)})
        raise ConfigError(
            f"{field} is {size}: expected multiples of this CLIP's patch size {patch}, like "
            f"{' or '.join(str(side) for side in near if side)}"
        )
    return clip_api.patch_grid(clip, *size)


def _look(
    clip: Clip,
    umci: Umci | None,
    images: UInt8[Array, "b h w 3"],
    sizes: Int[Array, "b 2"],
    text: Float[Array, "b 2 d"],
    kind: str,
    config: PipelineConfig,
    size: tuple[int, int],
    turns: tuple[int, ...],
) -> tuple[list[Float[Array, "b gh gw"]], Float[Array, "t b"]]:
    """The rough map of each quarter turn, upright, and the class token's abnormal probability."""
    grid = patch_grid(clip.config, size)
    levels = resize_pillow(images, sizes, size, size, "bicubic")
    mean, std = jnp.asarray(clip.config.pixel_mean), jnp.asarray(clip.config.pixel_std)
    pixels = (levels / 255 - mean) / std
    pixels = jnp.concatenate([jnp.rot90(pixels, k, (1, 2)) for k in turns])
    text = jnp.concatenate([text] * len(turns))
    layers = () if umci is None else umci.config.layers[-config.umci_stages :]
    encoding = clip_api.encode_image(clip, pixels, (*layers, clip.config.vision_layers))
    rough = jnp.zeros(())
    if umci is not None:
        tokens = encoding.patch_tokens[:-1]
        rough = anomaly_probability(umci, tokens, grid, text, config.umci_stages)
    if kind != "umci":
        patches = clip_api.project_patches(clip, encoding.patch_tokens[-1])
        similarity = abnormal_similarity(clip, patches, text).reshape(-1, *grid)
        share = config.similarity_weight if kind == "both" else 1
        rough = (1 - share) * rough + share * similarity
    parts = zip(jnp.split(rough, len(turns)), turns, strict=True)
    upright = [jnp.rot90(part, -k, (1, 2)) for part, k in parts]
    class_probability = abnormal_similarity(clip, encoding.class_embedding[:, None], text)[:, 0]
    return upright, class_probability.reshape(len(turns), -1)


def abnormal_similarity(
    clip: Clip, features: Float[Array, "b n d"], text: Float[Array, "b 2 d"]
) -> Float[Array, "b n"]:
    """Softmax over the cosines with the normal and abnormal text, at CLIP's logit scale."""
    dtype = jnp.promote_types(features.dtype, jnp.float32)
    features = features.astype(dtype)
    squared = jnp.sum(features * features, axis=-1, keepdims=True)
    # Full precision: the logit scale multiplies every error by up to 100.
    highest = jax.lax.Precision.HIGHEST
    cosine = jnp.einsum("bnd,btd->bnt", features, text.astype(dtype), precision=highest)
    cosine = cosine * jax.lax.rsqrt(jnp.maximum(squared, 1e-24))
    scale = jnp.exp(clip.logit_scale[...].astype(dtype))
    return jax.nn.softmax(scale * cosine, axis=-1)[..., 1]
