"""Padded canvases: photos of different sizes in one array, so that few programs are compiled."""

import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int32, UInt8

from zsas_jax.data.images import MAX_SIDE
from zsas_jax.errors import ImageError

# Sides of the square canvases, pixels: at most 1.5 times as long as the photo's longest side from
# 256 on. Each is one compiled program.
CANVASES = (256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, MAX_SIDE)
# Pixels of all canvases of a batch; a single canvas may have more.
MAX_BATCH_PIXELS = 2**24


def canvas_for(height: int, width: int) -> int:
    """Side of the smallest square canvas that holds a photo, pixels.

    Raises:
        ImageError: a side longer than the largest canvas.
    """
    longest = max(height, width)
    for side in CANVASES:
        if longest <= side:
            return side
    raise ImageError(f"A photo has {width} x {height} pixels: expected at most {MAX_SIDE} a side")


def batch_size_for(canvas: int, batch_size: int) -> int:
    """Photos per batch on canvases of this side: `batch_size`, less where memory would not do."""
    return max(1, min(batch_size, MAX_BATCH_PIXELS // canvas**2))


def make_batch(
    images: Sequence[np.ndarray], batch_size: int | None = None, canvas: int | None = None
) -> tuple[UInt8[np.ndarray, "b h w 3"], Int32[np.ndarray, "b 2"], Bool[np.ndarray, " b"]]:
    """Lays decoded photos into the top left corners of square canvases.

    Returns the canvases, the true (height, width) and the validity; `batch_size` (default: the
    number of photos) is filled up with invalid black photos of 1 x 1. The canvas is by default the
    smallest that holds the largest photo.

    Raises:
        ImageError: a photo larger than the largest canvas.
    """
    count = max(len(images), 1) if batch_size is None else batch_size
    if canvas is None:
        canvas = max((canvas_for(*image.shape[:2]) for image in images), default=CANVASES[0])
    batch = np.zeros((count, canvas, canvas, 3), np.uint8)
    sizes = np.ones((count, 2), np.int32)
    for index, image in enumerate(images):
        height, width = image.shape[:2]
        batch[index, :height, :width] = image
        sizes[index] = height, width
    return batch, sizes, np.arange(count) < len(images)


def image_key(seed: int, image: np.ndarray) -> int:
    """A random seed (32 bits) from the run's seed and a photo's pixels and shape alone."""
    start = zlib.crc32(f"{seed} {image.shape}".encode())
    return zlib.crc32(np.ascontiguousarray(image).data, start)
