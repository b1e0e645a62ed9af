"""CLIP's image and text towers.

Reference: openai/CLIP `clip/model.py`, whose attribute names are kept.

Differences:
- `attn.in_proj` is a Linear; OpenAI stores its parts as `attn.in_proj_weight` and `_bias`.
- `attn_mask` is no stored buffer.
- Inputs of other sizes, also non-square ones, resample the position embeddings.
- Channels last; patch tokens of chosen blocks are returned beside the pooled embedding.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from zsas_jax.errors import ConfigError
from zsas_jax.networks.clip.config import ClipConfig
from zsas_jax.ops.attention import attention
from zsas_jax.ops.layers import LayerNorm, Linear, gelu, parameter_dtype, quick_gelu, run_block
from zsas_jax.ops.patches import PatchConv
from zsas_jax.ops.position import resample_positions
from zsas_jax.ops.rowwise import by_rows


class ImageEncoding(NamedTuple):
    """What the image tower gives.

    `patch_tokens`: one [B, N, width] array per layer asked for, N = patch rows * columns, raw block
    outputs without the class token. `class_embedding`: [B, D], projected, not normalised.
    """

    patch_tokens: list[Float[Array, "b n width"]]
    class_embedding: Float[Array, "b d"]


class Clip(nnx.Module):
    """Both towers and the logit scale (stored as its logarithm)."""

    def __init__(self, config: ClipConfig, *, rngs: nnx.Rngs, param_dtype=jnp.float32):
        self.config = config
        self.visual = VisionTransformer(config, rngs=rngs, param_dtype=param_dtype)
        self.transformer = Transformer(
            config.text_width,
            config.text_layers,
            config.text_heads,
            config.text_mlp_ratio,
            config,
            rngs=rngs,
            param_dtype=param_dtype,
        )
        self.token_embedding = nnx.Embed(
            config.vocab_size,
            config.text_width,
            embedding_init=nnx.initializers.normal(0.02),
            rngs=rngs,
            param_dtype=param_dtype,
        )
        self.positional_embedding = _normal(
            rngs, (config.context_length, config.text_width), 0.01, param_dtype
        )
        self.ln_final = LayerNorm(
            config.text_width, eps=config.eps, rngs=rngs, param_dtype=param_dtype
        )
        self.text_projection = _normal(
            rngs, (config.text_width, config.embed_dim), config.text_width**-0.5, param_dtype
        )
        scale_dtype = parameter_dtype((), param_dtype)
        self.logit_scale = nnx.Param(jnp.asarray(math.log(1 / 0.07), scale_dtype))


class VisionTransformer(nnx.Module):
    """CLIP's ViT: a class token, a norm before the blocks and one after."""

    def __init__(self, config: ClipConfig, *, rngs: nnx.Rngs, param_dtype=jnp.float32):
        width, patch = config.vision_width, config.patch_size
        self.conv1 = PatchConv(
            3,
            width,
            (patch, patch),
            strides=(patch, patch),
            padding="VALID",
            use_bias=False,
            rngs=rngs,
            param_dtype=param_dtype,
        )
        self.class_embedding = _normal(rngs, (width,), width**-0.5, param_dtype)
        self.positional_embedding = _normal(
            rngs, (config.grid_size**2 + 1, width), width**-0.5, param_dtype
        )
        self.ln_pre = LayerNorm(width, eps=config.eps, rngs=rngs, param_dtype=param_dtype)
        self.transformer = Transformer(
            width,
            config.vision_layers,
            config.vision_heads,
            config.vision_mlp_ratio,
            config,
            rngs=rngs,
            param_dtype=param_dtype,
        )
        self.ln_post = LayerNorm(width, eps=config.eps, rngs=rngs, param_dtype=param_dtype)
        self.proj = _normal(rngs, (width, config.embed_dim), width**-0.5, param_dtype)


class Transformer(nnx.Module):
    """A stack of pre-norm residual attention blocks."""

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        mlp_ratio: float,
        config: ClipConfig,
        *,
        rngs: nnx.Rngs,
        param_dtype=jnp.float32,
    ):
        self.resblocks = nnx.List(
            [
                ResidualAttentionBlock(
                    width, layers, heads, mlp_ratio, config, rngs=rngs, param_dtype=param_dtype
                )
                for _ in range(layers)
            ]
        )


class ResidualAttentionBlock(nnx.Module):
    """x + attention(ln_1 x), then x + mlp(ln_2 x)."""

    def __init__(
        self,
        width: int,
        layers: int,
        heads: int,
        mlp_ratio: float,
        config: ClipConfig,
        *,
        rngs: nnx.Rngs,
        param_dtype=jnp.float32,
    ):
        norm = {"eps": config.eps, "rngs": rngs, "param_dtype": param_dtype}
        self.ln_1 = LayerNorm(width, **norm)
        self.attn = Attention(width, layers, heads, rngs=rngs, param_dtype=param_dtype)
        self.ln_2 = LayerNorm(width, **norm)
        self.mlp = ClipMlp(
            width, layers, mlp_ratio, config.activation, rngs=rngs, param_dtype=param_dtype
        )

    def __call__(
        self, x: Float[Array, "b n width"], mask: Array | None = None
    ) -> Float[Array, "b n width"]:
        x = x + self.attn(self.ln_1(x), mask)
        hidden = self.mlp.c_fc.out_features
        return by_rows(lambda rows: rows + self.mlp(self.ln_2(rows)), x, hidden)


class Attention(nnx.Module):
    """Multi-head self-attention with fused query, key and value projections."""

    def __init__(
        self, width: int, layers: int, heads: int, *, rngs: nnx.Rngs, param_dtype=jnp.float32
    ):
        # Initial scales of OpenAI's CLIP: residual branches shrink with the depth of the tower.
        inner, outer = width**-0.5, width**-0.5 * (2 * layers) ** -0.5
        self.in_proj = _linear(width, 3 * width, inner, rngs, param_dtype)
        self.out_proj = _linear(width, width, outer, rngs, param_dtype)
        self.heads = heads

    def __call__(
        self, x: Float[Array, "b n width"], mask: Array | None = None
    ) -> Float[Array, "b n width"]:
        batch, tokens, width = x.shape
        fused = self.in_proj(x).astype(self.in_proj.kernel.dtype)
        fused = fused.reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = fused[:, :, 0], fused[:, :, 1], fused[:, :, 2]
        return self.out_proj(attention(query, key, value, mask=mask).reshape(x.shape))


class ClipMlp(nnx.Module):
    """Linear, the config's activation, Linear."""

    def __init__(
        self,
        width: int,
        layers: int,
        mlp_ratio: float,
        activation: str,
        *,
        rngs: nnx.Rngs,
        param_dtype=jnp.float32,
    ):
        hidden = round(width * mlp_ratio)
        outer = width**-0.5 * (2 * layers) ** -0.5
        self.c_fc = _linear(width, hidden, (2 * width) ** -0.5, rngs, param_dtype)
        self.c_proj = _linear(hidden, width, outer, rngs, param_dtype)
        self.activation = activation

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        return self.c_proj(_ACTIVATIONS[self.activation](self.c_fc(x)))


def encode_image(
    clip: Clip, pixels: Float[Array, "b h w 3"], layers: tuple[int, ...] = (6, 12, 18, 24)
) -> ImageEncoding:
    """Runs the image tower on normalised RGB pixels of any size of at least one patch.

    Pixels right of and below the last whole patch are not seen. `layers` are 1-based block numbers,
    in any order; the result's patch tokens follow it. Computes in the parameters' dtype.

    Raises:
        ConfigError: a layer that the tower does not have, or an image smaller than a patch.
    """
    visual, config = clip.visual, clip.config
    wrong = [layer for layer in layers if not 1 <= layer <= config.vision_layers]
    if wrong:
        raise ConfigError(
            f"Layer {wrong[0]} is asked for, but this CLIP's image tower has layers 1 to "
            f"{config.vision_layers}."
        )
    rows, columns = patch_grid(config, *pixels.shape[1:3])
    seen = pixels[:, : rows * config.patch_size, : columns * config.patch_size]
    patches = visual.conv1(seen.astype(visual.proj.dtype))
    patches = patches.reshape(patches.shape[0], rows * columns, config.vision_width)
    class_token = jnp.broadcast_to(
        visual.class_embedding[...], (patches.shape[0], 1, config.vision_width)
    )
    positions = _image_positions(visual.positional_embedding[...], rows, columns, config)
    x = visual.ln_pre(jnp.concatenate([class_token, patches], axis=1) + positions)
    outputs = {}
    for number, block in enumerate(visual.transformer.resblocks, start=1):
        x = run_block(block, x)
        outputs[number] = x
    class_embedding = visual.ln_post(x[:, 0]) @ visual.proj[...]
    return ImageEncoding([outputs[layer][:, 1:] for layer in layers], class_embedding)


def project_patches(clip: Clip, tokens: Float[Array, "b n width"]) -> Float[Array, "b n d"]:
    """Takes patch tokens into the joint space: the final norm and the projection of the class token
    (methods of similarity maps; not normalised).
    """
    return clip.visual.ln_post(tokens) @ clip.visual.proj[...]


def encode_text(clip: Clip, token_ids: Int[Array, "b n"]) -> Float[Array, "b d"]:
    """Runs the text tower; projected, not normalised.

    Attention is causal, so that what follows the pooled end token (padding; of lower ids, for
    "argmax" pooling) has no effect, and there may be fewer than `context_length` columns.

    Raises:
        ConfigError: more columns than the context length.
    """
    config, length = clip.config, token_ids.shape[1]
    if length > config.context_length:
        raise ConfigError(
            f"Token ids have {length} columns, expected at most the context length "
            f"{config.context_length}."
        )
    # Not through nnx.Embed's call, which casts to the dtype that the module was built with.
    x = jnp.take(clip.token_embedding.embedding[...], token_ids, axis=0)
    x = x + clip.positional_embedding[...][:length]
    causal = jnp.tril(jnp.ones((length, length), bool))
    for block in clip.transformer.resblocks:
        x = run_block(block, x, causal)
    is_end = token_ids == config.end_token_id
    pooled = jnp.argmax(token_ids if config.text_pooling == "argmax" else is_end, axis=1)
    sentence = jnp.take_along_axis(x, pooled[:, None, None], axis=1)[:, 0]
    return clip.ln_final(sentence) @ clip.text_projection[...]


def patch_grid(config: ClipConfig, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of patches of an input of `height` x `width` pixels.

    Raises:
        ConfigError: an input smaller than one patch.
    """
    rows, columns = height // config.patch_size, width // config.patch_size
    if not rows or not columns:
        raise ConfigError(
            f"An image of {height} x {width} pixels is smaller than one patch of "
            f"{config.patch_size} x {config.patch_size}."
        )
    return rows, columns


def _image_positions(
    stored: Float[Array, "m width"], rows: int, columns: int, config: ClipConfig
) -> Float[Array, "n width"]:
    """The stored embeddings, those of the patches resampled to the input's grid."""
    grid = stored[1:].reshape(config.grid_size, config.grid_size, -1)
    grid = resample_positions(grid, rows, columns, config.position_rule)
    return jnp.concatenate([stored[:1], grid.reshape(rows * columns, -1)])


def _normal(rngs: nnx.Rngs, shape: tuple[int, ...], scale: float, dtype) -> nnx.Param:
    return nnx.Param(scale * jax.random.normal(rngs.params(), shape, dtype))


def _linear(inputs: int, outputs: int, scale: float, rngs: nnx.Rngs, param_dtype) -> Linear:
    return Linear(
        inputs,
        outputs,
        kernel_init=nnx.initializers.normal(scale),
        rngs=rngs,
        param_dtype=param_dtype,
    )


_ACTIVATIONS: dict[str, Callable] = {"quick_gelu": quick_gelu, "gelu": gelu}
