"""SAM's image encoder: a ViT with windowed and global attention and a convolutional neck.

Follows Meta's `segment_anything/modeling/image_encoder.py` (after ViTDet). Differences:
- channels last to the end;
- inputs of another size than the configured one are allowed: the absolute and relative positions
  are resampled linearly, as SAM resamples the relative ones;
- tokens that pad windows are projected by their known result, not computed;
- the decomposed relative positions reach the attention as two small factors, so that no array of
  heads x tokens x tokens is stored.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from zsas_jax.errors import ConfigError
from zsas_jax.networks.sam.config import SamConfig
from zsas_jax.ops.attention import attention
from zsas_jax.ops.layers import LayerNorm, Linear, Mlp, gelu, run_block
from zsas_jax.ops.patches import PatchConv
from zsas_jax.ops.position import resample_positions, resampling_matrix
from zsas_jax.ops.rowwise import by_rows


class PatchEmbed(nnx.Module):
    """Splits the image into patches and projects each."""

    def __init__(self, config: SamConfig, *, param_dtype, rngs: nnx.Rngs):
        side = (config.patch_size, config.patch_size)
        self.proj = PatchConv(
            3,
            config.width,
            kernel_size=side,
            strides=side,
            padding="VALID",
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def __call__(self, pixels: Float[Array, "b height width 3"]) -> Float[Array, "b h w c"]:
        return self.proj(pixels)


class Attention(nnx.Module):
    """Multi-head self-attention over a grid, with decomposed relative positions."""

    def __init__(self, width: int, heads: int, grid_size: int, *, param_dtype, rngs: nnx.Rngs):
        common = {"param_dtype": param_dtype, "rngs": rngs}
        head_dim = width // heads
        self.heads = heads
        self.qkv = Linear(width, 3 * width, **common)
        self.proj = Linear(width, width, **common)
        self.rel_pos_h = nnx.Param(jnp.zeros((2 * grid_size - 1, head_dim), param_dtype))
        self.rel_pos_w = nnx.Param(jnp.zeros((2 * grid_size - 1, head_dim), param_dtype))

    def __call__(self, x: Float[Array, "b h w c"], window_size: int = 0) -> Float[Array, "b h w c"]:
        """Attends over the whole grid, or inside windows of a size.

        The grid is zero-padded to whole windows. The padding is made of ordinary tokens that take
        part in the attention, as SAM was trained; their projection is the bias alone.
        """
        grid = (x.shape[1], x.shape[2])
        qkv = self.qkv(x).astype(self.qkv.kernel.dtype)
        if window_size:
            assert self.qkv.bias is not None
            qkv = window_partition(qkv, window_size, self.qkv.bias[...])
        attended = self._attend(qkv)
        if window_size:
            attended = window_unpartition(attended, window_size, grid)
        return self.proj(attended)

    def _attend(self, qkv: Float[Array, "b h w c3"]) -> Float[Array, "b h w c"]:
        batch, height, width, channels = qkv.shape
        split = qkv.reshape(batch, height * width, 3, self.heads, channels // 3 // self.heads)
        query, key, value = split[:, :, 0], split[:, :, 1], split[:, :, 2]
        # The unscaled query meets the relative positions; `attention` scales it for the keys only.
        grid = query.reshape(batch, height, width, self.heads, -1)
        rel_h, rel_w = relative_logits(grid, self.rel_pos_h[...], self.rel_pos_w[...])
        attended = attention(
            query,
            key,
            value,
            rel_h=rel_h.reshape(batch, self.heads, height * width, height),
            rel_w=rel_w.reshape(batch, self.heads, height * width, width),
        )
        return attended.reshape(batch, height, width, channels // 3)


class Block(nnx.Module):
    """A transformer block; `window_size` 0 means attention over the whole grid."""

    def __init__(self, config: SamConfig, window_size: int, *, param_dtype, rngs: nnx.Rngs):
        common = {"param_dtype": param_dtype, "rngs": rngs}
        hidden = round(config.width * config.mlp_ratio)
        self.window_size = window_size
        self.norm1 = LayerNorm(config.width, eps=config.encoder_eps, **common)
        self.attn = Attention(config.width, config.heads, window_size or config.grid_size, **common)
        self.norm2 = LayerNorm(config.width, eps=config.encoder_eps, **common)
        self.mlp = Mlp(config.width, hidden, activation=gelu, **common)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        x = x + self.attn(self.norm1(x), self.window_size)
        return by_rows(
            lambda rows: rows + self.mlp(self.norm2(rows)), x, self.mlp.lin1.out_features
        )


class ImageEncoder(nnx.Module):
    """Image pixels to one embedding per patch, `out_chans` channels each."""

    def __init__(self, config: SamConfig, *, param_dtype=jnp.float32, rngs: nnx.Rngs):
        common = {"param_dtype": param_dtype, "rngs": rngs}
        shape = (1, config.grid_size, config.grid_size, config.width)
        self.patch_size = config.patch_size
        self.patch_embed = PatchEmbed(config, **common)
        self.pos_embed = nnx.Param(
            nnx.initializers.truncated_normal(0.02)(rngs.params(), shape, param_dtype)
        )
        self.blocks = nnx.List(
            [
                Block(
                    config,
                    0 if index in config.global_attn_indexes else config.window_size,
                    **common,
                )
                for index in range(config.depth)
            ]
        )
        conv = functools.partial(nnx.Conv, use_bias=False, **common)
        self.neck = nnx.List(
            [
                conv(config.width, config.out_chans, kernel_size=(1, 1)),
                LayerNorm(config.out_chans, eps=config.encoder_eps, **common),
                conv(config.out_chans, config.out_chans, kernel_size=(3, 3), padding=1),
                LayerNorm(config.out_chans, eps=config.encoder_eps, **common),
            ]
        )

    def __call__(self, pixels: Float[Array, "b height width 3"]) -> Float[Array, "b h w c"]:
        """Encodes normalised pixels whose sides are multiples of the patch size.

        Raises:
            ConfigError: a side that is not a multiple of the patch size.
        """
        if pixels.shape[1] % self.patch_size or pixels.shape[2] % self.patch_size:
            raise ConfigError(
                f"SAM's input is {pixels.shape[1]} x {pixels.shape[2]} pixels: "
                f"expected sides that are multiples of {self.patch_size}"
            )
        x = self.patch_embed(pixels)
        x = x + resample_positions(self.pos_embed[0], x.shape[1], x.shape[2], "bilinear")
        for block in self.blocks:
            x = run_block(block, x)
        for layer in self.neck:
            x = layer(x)
        return x


def window_partition(
    x: Float[Array, "b h w c"], size: int, padding: Float[Array, " c"] | None = None
) -> Float[Array, "n s s c"]:
    """Cuts a grid into square windows, padded below and to the right with `padding` or zeros."""
    batch, height, width, channels = x.shape
    below, right = -height % size, -width % size
    if padding is None or not (below or right):
        x = jnp.pad(x, ((0, 0), (0, below), (0, right), (0, 0)))
    else:
        padding = padding.astype(x.dtype)
        sides = jnp.broadcast_to(padding, (batch, height, right, channels))
        x = jnp.concatenate([x, sides], axis=2)
        rows = jnp.broadcast_to(padding, (batch, below, width + right, channels))
        x = jnp.concatenate([x, rows], axis=1)
    x = x.reshape(batch, x.shape[1] // size, size, x.shape[2] // size, size, channels)
    return jnp.swapaxes(x, 2, 3).reshape(-1, size, size, channels)


def window_unpartition(
    windows: Float[Array, "n s s c"], size: int, grid: tuple[int, int]
) -> Float[Array, "b h w c"]:
    """The inverse of `window_partition`; `grid` is the height and width before padding."""
    rows, columns = -(-grid[0] // size), -(-grid[1] // size)
    x = windows.reshape(-1, rows, columns, size, size, windows.shape[-1])
    x = jnp.swapaxes(x, 2, 3).reshape(-1, rows * size, columns * size, windows.shape[-1])
    return x[:, : grid[0], : grid[1]]


def relative_logits(
    query: Float[Array, "b h w n d"],
    table_h: Float[Array, "length_h d"],
    table_w: Float[Array, "length_w d"],
) -> tuple[Float[Array, "b n h w h"], Float[Array, "b n h w w"]]:
    """Products of each query with the relative positions of all rows, and of all columns."""
    height, width = query.shape[1:3]
    tables = fit_table(table_h, height), fit_table(table_w, width)
    return jax.lax.platform_dependent(
        query, *tables, cpu=products_by_line, default=products_with_all
    )


def products_by_line(query: Array, table_h: Array, table_w: Array) -> tuple[Array, Array]:
    """CPUs' form of `relative_logits`: each row (column) of queries meets its own positions."""
    rows, columns = (relative_index(size) for size in query.shape[1:3])
    rel_h = jnp.einsum("byxnd,ykd->bnyxk", query, table_h[rows])
    rel_w = jnp.einsum("byxnd,xkd->bnyxk", query, table_w[columns])
    return rel_h, rel_w


def products_with_all(query: Array, table_h: Array, table_w: Array) -> tuple[Array, Array]:
    """Accelerators' form: one product with both tables, of which each query takes its own rows.

    Products batched over rows or columns would have all queries transposed first.
    """
    rows, columns = (relative_index(size) for size in query.shape[1:3])
    tables = jnp.concatenate([table_h, table_w])
    tables = jnp.pad(tables, ((0, -len(tables) % 8), (0, 0)))
    products = jnp.einsum("byxnd,kd->byxnk", query, tables)
    by_row = jnp.take_along_axis(products, rows[None, :, None, None], axis=-1)
    by_column = products[..., len(table_h) :]
    by_column = jnp.take_along_axis(by_column, columns[None, None, :, None], axis=-1)
    return jnp.moveaxis(by_row, 3, 1), jnp.moveaxis(by_column, 3, 1)


def fit_table(table: Float[Array, "length d"], size: int) -> Float[Array, "new d"]:
    """A relative-position table for `size` rows or columns, resampled if its length differs."""
    length = 2 * size - 1
    if table.shape[0] == length:
        return table
    return jnp.asarray(resampling_matrix(table.shape[0], length, "bilinear"), table.dtype) @ table


def relative_index(size: int) -> Int[np.ndarray, "q k"]:
    """Where a table has the position of query q relative to key k: q - k + size - 1."""
    return np.arange(size)[:, None] - np.arange(size)[None, :] + size - 1
