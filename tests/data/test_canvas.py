"""Canvases, batch sizes and keys."""

import numpy as np
import pytest

from zsas_jax.data.canvas import (
    CANVASES,
    MAX_BATCH_PIXELS,
    batch_size_for,
    canvas_for,
    image_key,
    make_batch,
)
from zsas_jax.errors import ImageError


def test_canvas_is_the_smallest_that_fits():
    assert canvas_for(1, 1) == 256
    assert canvas_for(256, 3) == 256
    assert canvas_for(3, 257) == 384
    assert canvas_for(9000, 12000) == 12288
    for side in range(256, CANVASES[-1], 97):
        assert side <= canvas_for(side, 1) <= 1.5 * side
    with pytest.raises(ImageError, match="16385 x 2 pixels: expected at most 16384"):
        canvas_for(2, 16385)


def test_batch_shrinks_with_the_canvas():
    sizes = [batch_size_for(canvas, 64) for canvas in CANVASES]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 64
    assert sizes[-1] == 1
    for canvas, size in zip(CANVASES, sizes, strict=True):
        assert size == 1 or size * canvas**2 <= MAX_BATCH_PIXELS


def test_make_batch_pads_photos_and_batch():
    images = [np.full((3, 300, 3), 7, np.uint8), np.full((20, 10, 3), 9, np.uint8)]
    canvas, sizes, valid = make_batch(images, 4)
    assert canvas.shape == (4, 384, 384, 3)
    assert canvas.dtype == np.uint8
    assert sizes.dtype == np.int32
    np.testing.assert_array_equal(sizes, [[3, 300], [20, 10], [1, 1], [1, 1]])
    np.testing.assert_array_equal(valid, [True, True, False, False])
    assert (canvas[0, :3, :300] == 7).all()
    assert canvas.astype(int).sum() == 3 * (3 * 300 * 7 + 20 * 10 * 9)


def test_key_depends_on_seed_content_and_shape_alone():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    key = image_key(0, image)
    assert 0 <= key < 2**32
    assert key == image_key(0, np.asfortranarray(image))
    others = [image_key(1, image), image_key(0, image + 1), image_key(0, image.reshape(4, 2, 3))]
    assert len({key, *others}) == 4
