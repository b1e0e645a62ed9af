"""SAM's mask decoder: a two-way transformer, an upscaling and one small network per mask.

Follows Meta's `segment_anything/modeling/{mask_decoder,transformer}.py`. Differences:
- channels last, regions on an axis of their own ([batch, regions, ...]);
- invalid prompt tokens are masked out as keys wherever tokens are attended to, so that they have no
  effect on the result at all;
- an image side that all regions share (no mask prompt) is projected once for all of them.
"""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from zsas_jax.networks.sam.config import SamConfig
from zsas_jax.networks.sam.layers import Gelu, UpsampleConv
from zsas_jax.ops.attention import attention
from zsas_jax.ops.layers import LayerNorm, Linear, Mlp


class DecoderAttention(nnx.Module):
    """Attention with separate projections and, in cross-attentions, a narrower inner width."""

    def __init__(
        self, features: int, heads: int, downsample: int = 1, *, param_dtype, rngs: nnx.Rngs
    ):
        inner = features // downsample
        common = {"param_dtype": param_dtype, "rngs": rngs}
        self.heads = heads
        self.q_proj = Linear(features, inner, **common)
        self.k_proj = Linear(features, inner, **common)
        self.v_proj = Linear(features, inner, **common)
        self.out_proj = Linear(inner, features, **common)

    def __call__(
        self,
        query: Float[Array, "b rq q c"],
        key: Float[Array, "b rk k c"],
        value: Float[Array, "b rk k c"],
        key_valid: Bool[Array, "b rk k"] | None = None,
    ) -> Float[Array, "b r q c"]:
        """Attends; a region axis of one (`rq` or `rk`) is shared by all regions of the other."""
        batch, regions, queries, _ = query.shape
        query = self._split_heads(self.q_proj(query))
        key, value = self._split_heads(self.k_proj(key)), self._split_heads(self.v_proj(value))
        if key.shape[1] == 1:
            # All regions look at the same keys: their queries are one long sequence.
            query = query.reshape(batch, 1, regions * queries, *query.shape[3:])
        elif regions == 1:
            regions = key.shape[1]
            query = jnp.broadcast_to(query, (batch, regions, *query.shape[2:]))
        mask = None if key_valid is None else key_valid[:, :, None, None, :]
        attended = attention(query, key, value, mask=mask)
        return self.out_proj(attended.reshape(batch, regions, queries, -1))

    def _split_heads(self, tokens: Array) -> Array:
        return tokens.reshape(*tokens.shape[:-1], self.heads, -1)


class TwoWayAttentionBlock(nnx.Module):
    """Tokens attend to tokens, tokens to the image, then the image to the tokens."""

    def __init__(
        self, config: SamConfig, *, skip_first_layer_pe: bool, param_dtype, rngs: nnx.Rngs
    ):
        channels, heads = config.out_chans, config.decoder_heads
        common = {"param_dtype": param_dtype, "rngs": rngs}

        def norm():
            return LayerNorm(channels, eps=config.decoder_eps, **common)

        def cross_attention():
            return DecoderAttention(channels, heads, config.decoder_downsample, **common)

        self.skip_first_layer_pe = skip_first_layer_pe
        self.self_attn = DecoderAttention(channels, heads, **common)
        self.norm1 = norm()
        self.cross_attn_token_to_image = cross_attention()
        self.norm2 = norm()
        self.mlp = Mlp(channels, config.decoder_mlp_dim, activation=jax.nn.relu, **common)
        self.norm3 = norm()
        self.norm4 = norm()
        self.cross_attn_image_to_token = cross_attention()

    def __call__(
        self,
        queries: Float[Array, "b r t c"],
        keys: Float[Array, "b rk n c"],
        query_pe: Float[Array, "b r t c"],
        key_pe: Float[Array, "n c"],
        query_valid: Bool[Array, "b r t"] | None = None,
    ) -> tuple[Float[Array, "b r t c"], Float[Array, "b r n c"]]:
        """Returns the new tokens and the new image side, which then differs between regions."""
        if self.skip_first_layer_pe:
            # The first layer's tokens are their own position encoding: no sum, no residual.
            queries = self.self_attn(queries, queries, queries, query_valid)
        else:
            positioned = queries + query_pe
            queries = queries + self.self_attn(positioned, positioned, queries, query_valid)
        queries = self.norm1(queries)
        positioned_keys = keys + key_pe
        queries = queries + self.cross_attn_token_to_image(
            queries + query_pe, positioned_keys, keys
        )
        queries = self.norm2(queries)
        queries = self.norm3(queries + self.mlp(queries))
        keys = keys + self.cross_attn_image_to_token(
            positioned_keys, queries + query_pe, queries, query_valid
        )
        return queries, self.norm4(keys)


class TwoWayTransformer(nnx.Module):
    """The decoder's transformer; see `TwoWayAttentionBlock`."""

    def __init__(self, config: SamConfig, *, param_dtype=jnp.float32, rngs: nnx.Rngs):
        common = {"param_dtype": param_dtype, "rngs": rngs}
        self.layers = nnx.List(
            [
                TwoWayAttentionBlock(config, skip_first_layer_pe=index == 0, **common)
                for index in range(config.decoder_depth)
            ]
        )
        self.final_attn_token_to_image = DecoderAttention(
            config.out_chans, config.decoder_heads, config.decoder_downsample, **common
        )
        self.norm_final_attn = LayerNorm(config.out_chans, eps=config.decoder_eps, **common)

    def __call__(
        self,
        tokens: Float[Array, "b r t c"],
        image: Float[Array, "b rk n c"],
        image_pe: Float[Array, "n c"],
        token_valid: Bool[Array, "b r t"] | None = None,
    ) -> tuple[Float[Array, "b r t c"], Float[Array, "b r n c"]]:
        """Returns the tokens and the image side after all layers."""
        queries, keys = tokens, image
        for layer in self.layers:
            queries, keys = layer(queries, keys, tokens, image_pe, token_valid)
        attended = self.final_attn_token_to_image(queries + tokens, keys + image_pe, keys)
        return self.norm_final_attn(queries + attended), keys


class MlpHead(nnx.Module):
    """Linear layers with ReLU between them."""

    def __init__(
        self, features: int, hidden: int, outputs: int, depth: int, *, param_dtype, rngs: nnx.Rngs
    ):
        widths = [features] + [hidden] * (depth - 1) + [outputs]
        self.layers = nnx.List(
            [
                Linear(before, after, param_dtype=param_dtype, rngs=rngs)
                for before, after in itertools.pairwise(widths)
            ]
        )

    def __call__(self, hidden: Float[Array, "*n c"]) -> Float[Array, "*n d"]:
        for layer in self.layers[:-1]:
            hidden = jax.nn.relu(layer(hidden))
        return self.layers[-1](hidden)


class MaskDecoder(nnx.Module):
    """Predicts mask logits at four times the embedding's grid, and each mask's IoU."""

    def __init__(self, config: SamConfig, *, param_dtype=jnp.float32, rngs: nnx.Rngs):
        channels = config.out_chans
        common = {"param_dtype": param_dtype, "rngs": rngs}
        unit_normal = nnx.initializers.normal(1.0)

        def upsample(inputs: int, outputs: int):
            return UpsampleConv(
                inputs, outputs, kernel_size=(2, 2), strides=(2, 2), padding="VALID", **common
            )

        self.mask_count = config.num_multimask_outputs + 1
        self.transformer = TwoWayTransformer(config, **common)
        self.iou_token = nnx.Embed(1, channels, embedding_init=unit_normal, **common)
        self.mask_tokens = nnx.Embed(
            self.mask_count, channels, embedding_init=unit_normal, **common
        )
        self.output_upscaling = nnx.List(
            [
                upsample(channels, channels // 4),
                LayerNorm(channels // 4, eps=config.encoder_eps, **common),
                Gelu(),
                upsample(channels // 4, channels // 8),
                Gelu(),
            ]
        )
        self.output_hypernetworks_mlps = nnx.List(
            [
                MlpHead(channels, channels, channels // 8, 3, **common)
                for _ in range(self.mask_count)
            ]
        )
        self.iou_prediction_head = MlpHead(
            channels, config.iou_head_hidden, self.mask_count, config.iou_head_depth, **common
        )

    def __call__(
        self,
        image: Float[Array, "b rk h w c"],
        image_pe: Float[Array, "h w c"],
        prompt_tokens: Float[Array, "b r t c"],
        prompt_valid: Bool[Array, "b r t"],
        masks: slice,
    ) -> tuple[Float[Array, "b r m h4 w4"], Float[Array, "b r m"]]:
        """Decodes the masks whose tokens `masks` selects (0 single, 1 to 3 multi-mask).

        `image` is the embedding plus the dense prompt; its region axis is 1 where all share it.
        """
        batch, regions = prompt_tokens.shape[:2]
        height, width, channels = image.shape[-3:]
        own = jnp.concatenate([self.iou_token.embedding[...], self.mask_tokens.embedding[...]])
        own = jnp.broadcast_to(own, (batch, regions, *own.shape))
        tokens = jnp.concatenate([own, prompt_tokens], axis=2)
        valid = jnp.concatenate([jnp.ones(own.shape[:3], bool), prompt_valid], axis=2)

        tokens, image = self.transformer(
            tokens,
            image.reshape(batch, -1, height * width, channels),
            image_pe.reshape(height * width, channels),
            valid,
        )
        upscaled = image.reshape(batch, regions, height, width, channels)
        for layer in self.output_upscaling:
            upscaled = layer(upscaled)

        selected = range(self.mask_count)[masks]
        weights = [self.output_hypernetworks_mlps[i](tokens[:, :, 1 + i]) for i in selected]
        logits = jnp.einsum("brmc,brhwc->brmhw", jnp.stack(weights, axis=2), upscaled)
        iou = self.iou_prediction_head(tokens[:, :, 0])
        return logits, iou[..., masks]
