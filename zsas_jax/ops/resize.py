"""Resampling to traced sizes, by matrices that are built inside the program.

One program serves every photo size of a canvas: the sizes are data, only their upper bounds are
static. Images follow Pillow (antialiased, 8 bit between the passes), maps follow PyTorch (two
taps, no antialiasing). Centres are computed in integers, so that float32 loses nothing on large
canvases; sides up to 16384 pixels are exact. For static sizes see `ops.position`.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

Filter = Literal["bilinear", "bicubic"]
Size = int | Int[Array, ""]

# Float copies of a part of a canvas stay below this many bytes.
CHUNK_BYTES = 64 * 2**20


def pillow_matrix(
    in_size: Size, out_size: Size, in_max: int, out_max: int, filter: Filter = "bilinear"
) -> Float[Array, "{out_max} {in_max}"]:
    """Pillow's antialiased resampling weights for one axis (`Image.resize` on 8-bit images).

    The kernel (triangle, or Keys' cubic with a = -0.5) widens with the shrinking factor; the taps
    inside the image are normalised to sum to one. Rows from `out_size` and columns from `in_size`
    on are zero; both may be traced.
    """
    in_size, out_size = jnp.asarray(in_size, jnp.int32), jnp.asarray(out_size, jnp.int32)
    rows = jnp.arange(out_max, dtype=jnp.int32)[:, None]
    columns = jnp.arange(in_max, dtype=jnp.int32)[None, :]
    # Distance from tap to centre in units of the kernel, as an exact fraction. Pillow's window of
    # taps is exactly where the kernel is not zero, so that it needs no masking of its own.
    numerator = (2 * columns + 1) * out_size - (2 * rows + 1) * in_size
    denominator = 2 * jnp.maximum(in_size, out_size)
    distance = jnp.abs(numerator.astype(jnp.float32) / denominator.astype(jnp.float32))
    weights = _cubic(distance) if filter == "bicubic" else jnp.maximum(1 - distance, 0)
    weights = jnp.where((rows < out_size) & (columns < in_size), weights, 0)
    total = weights.sum(axis=1, keepdims=True)
    return weights / jnp.where(total == 0, 1, total)


def _cubic(distance: Array) -> Array:
    """Keys' cubic convolution kernel with Pillow's a = -0.5; `distance` is not negative."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return jnp.where(distance < 1, near, jnp.where(distance < 2, far, 0))


def resize_pillow(
    images: UInt8[Array, "b h w 3"],
    sizes: Int[Array, "b 2"],
    out_sizes: Int[Array, "b 2"] | tuple[int, int],
    out_max: tuple[int, int],
    filter: Filter = "bilinear",
) -> Float[Array, "b out_h out_w 3"]:
    """Resizes the valid part of each canvas as Pillow does, to one level of difference (bicubic:
    to two in the rare pixel that depends on a tie in the first pass).

    Horizontal pass first (Pillow 13 turns that round for some tall images), each pass rounded and
    clipped to 0..255. `sizes` and `out_sizes` are (height, width); the result holds whole levels
    0..255 as float32 on a canvas of the static (height, width) `out_max`, zero outside the valid
    part. No float copy of the canvas exists.
    """
    count, height, width, _ = images.shape
    out_sizes = jnp.broadcast_to(jnp.asarray(out_sizes, jnp.int32), (count, 2))

    def matrices(axis: int, in_max: int):
        return jax.vmap(lambda i, o: pillow_matrix(i, o, in_max, out_max[axis], filter))(
            sizes[:, axis], out_sizes[:, axis]
        )

    columns, rows = matrices(1, width), matrices(0, height)
    narrowed = _by_chunks(
        lambda part: _multiply("bow,bhwc->bhoc", columns, part),
        images,
        jax.ShapeDtypeStruct((count, height, out_max[1], 3), jnp.uint8),
        axis=1,
        used=sizes[:, 0].max(),
    )
    return _by_chunks(
        lambda part: _multiply("boh,bhwc->bowc", rows, part),
        narrowed,
        jax.ShapeDtypeStruct((count, *out_max, 3), jnp.float32),
        axis=2,
        used=out_sizes[:, 1].max(),
    )


def _multiply(equation: str, matrices: Array, levels: Array) -> Array:
    """One pass: weighted sums of 8-bit levels, rounded half up as Pillow rounds, and clipped."""
    sums = jax.lax.platform_dependent(
        matrices,
        levels,
        cpu=functools.partial(wide_products, equation),
        default=functools.partial(narrow_products, equation),
    )
    return jnp.clip(jnp.floor(sums + 0.5), 0, 255)


def wide_products(equation: str, matrices: Array, levels: Array) -> Array:
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum(equation, matrices, levels.astype(jnp.float32), precision=highest)


def narrow_products(equation: str, matrices: Array, levels: Array) -> Array:
    """The same sums by the fast bfloat16 products of accelerators.

    bfloat16 holds 8-bit levels exactly, and float32 weights in three parts.
    """
    narrow, rest, sums = levels.astype(jnp.bfloat16), matrices, jnp.float32(0)
    for _ in range(3):
        part = jax.lax.reduce_precision(rest, exponent_bits=8, mantissa_bits=7)
        rest = rest - part
        sums = sums + jnp.einsum(
            equation, part.astype(jnp.bfloat16), narrow, preferred_element_type=jnp.float32
        )
    return sums


def _by_chunks(function, levels: Array, result: jax.ShapeDtypeStruct, axis: int, used: Array):
    """Applies `function` to slices along `axis`, of which only the first `used` ones matter."""
    length = levels.shape[axis]
    step = max(1, int(CHUNK_BYTES // (4 * levels.size // length)))
    if step >= length:
        return function(levels).astype(result.dtype)

    def body(chunk, done):
        # The last slice reaches back over rows that are done: the same values again.
        start = jnp.minimum(chunk * step, length - step)
        part = function(jax.lax.dynamic_slice_in_dim(levels, start, step, axis))
        return jax.lax.dynamic_update_slice_in_dim(done, part.astype(result.dtype), start, axis)

    chunks = (jnp.minimum(used, length) + step - 1) // step
    return jax.lax.fori_loop(0, chunks, body, jnp.zeros(result.shape, result.dtype))


def bilinear_matrix(
    in_size: Size,
    out_size: Size,
    in_max: int,
    out_max: int,
    align_corners: bool = False,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> Float[Array, "{out_max} {in_max}"]:
    """Weights of `torch.nn.functional.interpolate(mode="bilinear")` for one axis.

    Two taps, no antialiasing, the border repeated. Rows from `out_size` and columns from `in_size`
    on are zero; both may be traced.
    """
    in_size, out_size = jnp.asarray(in_size, jnp.int32), jnp.asarray(out_size, jnp.int32)
    rows = jnp.arange(out_max, dtype=jnp.int32)[:, None]
    columns = jnp.arange(in_max, dtype=jnp.int32)[None, :]
    if align_corners:
        numerator, denominator = rows * (in_size - 1), jnp.maximum(out_size - 1, 1)
    else:
        numerator = jnp.maximum((2 * rows + 1) * in_size - out_size, 0)
        denominator = 2 * out_size
    denominator = jnp.maximum(denominator, 1)
    first = numerator // denominator
    fraction = (numerator % denominator).astype(dtype) / denominator.astype(dtype)
    second = jnp.minimum(first + 1, in_size - 1)
    weights = jnp.where(columns == first, 1 - fraction, 0) + jnp.where(
        columns == second, fraction, 0
    )
    return jnp.where((rows < out_size) & (columns < in_size), weights, 0)


def resize_bilinear(
    maps: Float[Array, "*n h w"],
    in_size: tuple[Size, Size] | Int[Array, "2"],
    out_size: tuple[Size, Size] | Int[Array, "2"],
    out_max: tuple[int, int],
    align_corners: bool = False,
) -> Float[Array, "*n {out_max[0]} {out_max[1]}"]:
    """Resizes the valid part of maps as `torch.nn.functional.interpolate` (bilinear) does.

    `in_size` and `out_size` are (height, width) of the valid parts and may be traced (vmap for
    sizes per map); the result is zero outside. Differentiable in `maps`, of their dtype.
    """
    height, width = maps.shape[-2:]
    dtype = jnp.promote_types(maps.dtype, jnp.float32)
    rows = bilinear_matrix(in_size[0], out_size[0], height, out_max[0], align_corners, dtype)
    columns = bilinear_matrix(in_size[1], out_size[1], width, out_max[1], align_corners, dtype)
    highest = jax.lax.Precision.HIGHEST
    tall = jnp.einsum("oh,...hw->...ow", rows, maps.astype(dtype), precision=highest)
    wide = jnp.einsum("pw,...ow->...op", columns, tall, precision=highest)
    return wide.astype(maps.dtype)
