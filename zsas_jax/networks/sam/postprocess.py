"""SAM's geometry around the networks: the input frame, coordinates in it, and masks back from it.

Follows Meta's `utils/transforms.py` and `Sam.preprocess` / `Sam.postprocess_masks`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zsas_jax.networks.sam.config import SamConfig
from zsas_jax.ops.position import resampling_matrix

LARGEST_EXACT_SIDE = 16384  # pixels; up to here `frame_size` equals float64 arithmetic


def frame_size(height, width, image_size: int):
    """Height and width of an image inside SAM's square input frame, at least 1 pixel each.

    The longest side becomes `image_size`: int(side * (image_size / longest) + 0.5) in float64, as
    the reference computes it. Python integers give Python integers; arrays, traced ones too, give
    int32 arrays with the same values for sides up to 16384.
    """
    if isinstance(height, int) and isinstance(width, int):
        scale = image_size * 1.0 / max(height, width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
    height, width = jnp.asarray(height, jnp.int32), jnp.asarray(width, jnp.int32)
    longest = jnp.maximum(height, width)
    return tuple(_scaled_side(side, longest, image_size) for side in (height, width))


def _scaled_side(side: Array, longest: Array, image_size: int) -> Array:
    rounded = (2 * side * image_size + longest) // (2 * longest)
    # float64 rounds some exact halves down; those pairs of sizes are known.
    exceptions = _halves_rounded_down(image_size)
    if len(exceptions):
        pair = longest * (LARGEST_EXACT_SIDE + 1) + side
        rounded = rounded - jnp.any(pair[..., None] == exceptions, axis=-1)
    return jnp.maximum(rounded, 1)


@functools.cache
def _halves_rounded_down(image_size: int) -> np.ndarray:
    """Codes of (longest, side) whose scaled side is n + 1/2 but falls below it in float64.

    Empty for 256, 512 and 1024; about a thousand pairs for sizes such as 240.
    """
    codes = []
    for longest in range(1, LARGEST_EXACT_SIDE + 1):
        # The smallest side for which 2 * side * image_size is a multiple of the longest.
        step = longest // np.gcd(2 * image_size, longest)
        side = np.arange(step, longest + 1, step)
        side = side[(2 * side * image_size // longest) % 2 == 1]
        scaled = (side * (image_size * 1.0 / longest) + 0.5).astype(np.int64)
        missed = side[scaled < (2 * side * image_size + longest) // (2 * longest)]
        codes.extend(longest * (LARGEST_EXACT_SIDE + 1) + missed)
    return np.array(codes, np.int32)


def scale_coordinates(coordinates: Float[Array, "... 2"], original, frame) -> Float[Array, "... 2"]:
    """Moves (x, y) pixels of an image into SAM's input frame.

    `original` and `frame` are (height, width) pairs; x and y scale by the ratio of rounded sizes.
    """
    ratio = jnp.stack([frame[1] / original[1], frame[0] / original[0]], axis=-1)
    return coordinates * ratio.astype(coordinates.dtype)


def normalize_pixels(pixels: Float[Array, "... 3"], config: SamConfig) -> Float[Array, "... 3"]:
    """RGB values in 0..255 to SAM's input; pad with zeros afterwards, not before."""
    mean = jnp.asarray(config.pixel_mean, pixels.dtype)
    return (pixels - mean) / jnp.asarray(config.pixel_std, pixels.dtype)


def upscale_logits(
    logits: Float[Array, "*n h w"],
    frame: tuple[int, int],
    original: tuple[int, int],
    image_size: int,
) -> Float[Array, "*n height width"]:
    """Low-resolution mask logits at the photo's own size; threshold them at 0.

    Bilinear to the square input frame, cropped to the image's part `frame` (height, width) of it,
    bilinear to `original` (height, width); align_corners False, no antialiasing. Static sizes.
    """
    logits = _resize(logits, image_size, image_size)
    return _resize(logits[..., : frame[0], : frame[1]], *original)


def _resize(images: Array, height: int, width: int) -> Array:
    rows, columns = (
        jnp.asarray(resampling_matrix(source, target, "bilinear"), images.dtype)
        for source, target in zip(images.shape[-2:], (height, width), strict=True)
    )
    return jnp.einsum(
        "yi,...ij,xj->...yx", rows, images, columns, precision=jax.lax.Precision.HIGHEST
    )
