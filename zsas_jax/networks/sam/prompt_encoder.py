"""SAM's prompt encoder: points, boxes and masks become tokens and a dense embedding.

Follows Meta's `segment_anything/modeling/prompt_encoder.py`. Differences:
- channels last, regions on an axis of their own ([batch, regions, ...]);
- every sparse token has a validity flag, which the mask decoder's attention honours;
- the positional encoding is computed in at least float32 and cast to the parameters' dtype.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Num

from zsas_jax.networks.sam.config import SamConfig
from zsas_jax.networks.sam.layers import Gelu
from zsas_jax.ops.layers import Buffer, LayerNorm, accumulation_dtype
from zsas_jax.ops.patches import PatchConv

PADDING_LABEL = -1  # SAM's "not a point": an attended token that says that no box was given


class PositionEmbeddingRandom(nnx.Module):
    """Random Fourier features of positions; the Gaussian matrix is a buffer, not a parameter."""

    def __init__(self, features: int, *, param_dtype=jnp.float32, rngs: nnx.Rngs):
        matrix = nnx.initializers.normal(1.0)(rngs.params(), (2, features), param_dtype)
        self.positional_encoding_gaussian_matrix = Buffer(matrix)

    def __call__(self, coordinates: Float[Array, "*n 2"]) -> Float[Array, "*n c"]:
        """Encodes xy positions given as fractions of the frame, each in [0, 1]."""
        matrix = self.positional_encoding_gaussian_matrix[...]
        dtype = accumulation_dtype(matrix)
        # Phases reach tens of radians: a float32 product at full precision, also on accelerators.
        phase = jnp.matmul(
            2.0 * coordinates.astype(dtype) - 1.0, matrix.astype(dtype), precision="highest"
        )
        phase = 2.0 * jnp.pi * phase
        return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=-1)

    def grid(self, height: int, width: int) -> Float[Array, "h w c"]:
        """Encodes the centres of a grid's cells."""
        dtype = accumulation_dtype(self.positional_encoding_gaussian_matrix[...])
        y = (jnp.arange(height, dtype=dtype) + 0.5) / height
        x = (jnp.arange(width, dtype=dtype) + 0.5) / width
        x, y = jnp.meshgrid(x, y)
        return self(jnp.stack([x, y], axis=-1))


class PromptEncoder(nnx.Module):
    """Embeds prompts; see `embed_points`, `embed_boxes` and `embed_masks`."""

    def __init__(self, config: SamConfig, *, param_dtype=jnp.float32, rngs: nnx.Rngs):
        channels, hidden = config.out_chans, config.mask_channels
        common = {"param_dtype": param_dtype, "rngs": rngs}

        def embedding():
            return nnx.Embed(1, channels, embedding_init=nnx.initializers.normal(1.0), **common)

        def conv(inputs: int, outputs: int, side: int):
            return PatchConv(
                inputs,
                outputs,
                kernel_size=(side, side),
                strides=(side, side),
                padding="VALID",
                **common,
            )

        def norm(features: int):
            return LayerNorm(features, eps=config.encoder_eps, **common)

        self.patch_size = config.patch_size
        self.pe_layer = PositionEmbeddingRandom(channels // 2, **common)
        # 0 negative point, 1 positive point, 2 and 3 the corners of a box.
        self.point_embeddings = nnx.List([embedding() for _ in range(4)])
        self.not_a_point_embed = embedding()
        self.mask_downscaling = nnx.List(
            [
                conv(1, hidden // 4, 2),
                norm(hidden // 4),
                Gelu(),
                conv(hidden // 4, hidden, 2),
                norm(hidden),
                Gelu(),
                conv(hidden, channels, 1),
            ]
        )
        self.no_mask_embed = embedding()

    @property
    def dtype(self):
        return self.no_mask_embed.embedding[...].dtype

    def _encode(self, xy: Float[Array, "*n 2"], grid: tuple[int, int]) -> Float[Array, "*n c"]:
        """Encodes pixels of the input frame whose patch grid has the shape `grid`."""
        height, width = grid
        frame = jnp.array([width * self.patch_size, height * self.patch_size], jnp.float32)
        return self.pe_layer((xy + 0.5) / frame)  # + 0.5: the centre of the pixel

    def embed_points(
        self,
        points: Float[Array, "b r n 2"],
        labels: Num[Array, "b r n"],
        grid: tuple[int, int],
    ) -> Float[Array, "b r n c"]:
        """Embeds points (x, y) of the input frame; labels 1 positive, 0 negative, -1 padding."""
        label = labels[..., None]
        encoded = jnp.where(label == PADDING_LABEL, 0.0, self._encode(points, grid))
        negative, positive = (self.point_embeddings[i].embedding[...][0] for i in (0, 1))
        kind = jnp.where(label == 0, negative, jnp.where(label == 1, positive, 0.0))
        kind = jnp.where(label == PADDING_LABEL, self.not_a_point_embed.embedding[...][0], kind)
        return (encoded + kind).astype(self.dtype)

    def embed_boxes(
        self, boxes: Float[Array, "b r 4"], grid: tuple[int, int]
    ) -> Float[Array, "b r 2 c"]:
        """Embeds boxes (x0, y0, x1, y1) of the input frame as two corner tokens each."""
        corners = self._encode(boxes.reshape(*boxes.shape[:2], 2, 2), grid)
        kind = jnp.stack([self.point_embeddings[i].embedding[...][0] for i in (2, 3)])
        return (corners + kind).astype(self.dtype)

    def embed_masks(self, masks: Float[Array, "b r h4 w4"]) -> Float[Array, "b r h w c"]:
        """Embeds mask logits four times as fine as the embedding grid, unscaled."""
        hidden = masks.astype(self.dtype)[..., None]
        for layer in self.mask_downscaling:
            hidden = layer(hidden)
        return hidden

    def __call__(
        self,
        points: tuple[Float[Array, "b r n 2"], Num[Array, "b r n"], Bool[Array, "b r n"]] | None,
        boxes: Float[Array, "b r 4"] | None,
        grid: tuple[int, int],
    ) -> tuple[Float[Array, "b r t c"], Bool[Array, "b r t"]] | None:
        """Sparse tokens and their validity: points, SAM's padding point if no boxes, box corners.

        `points` are (x, y), labels and validity. None where there are neither points nor boxes.
        """
        tokens, token_valid = [], []
        if points is not None:
            xy, labels, valid = points
            # Whatever an invalid point holds, NaN included, must not reach the attention's sums.
            xy = jnp.where(valid[..., None], xy, 0.0)
            if boxes is None:
                xy = jnp.pad(xy, ((0, 0), (0, 0), (0, 1), (0, 0)))
                labels = _append(labels, PADDING_LABEL)
                valid = _append(valid, True)
            tokens.append(self.embed_points(xy, labels, grid))
            token_valid.append(valid)
        if boxes is not None:
            tokens.append(self.embed_boxes(boxes, grid))
            token_valid.append(jnp.ones((*boxes.shape[:2], 2), bool))
        if not tokens:
            return None
        return jnp.concatenate(tokens, axis=2), jnp.concatenate(token_valid, axis=2)


def _append(values: Array, constant) -> Array:
    return jnp.pad(values, ((0, 0), (0, 0), (0, 1)), constant_values=constant)
