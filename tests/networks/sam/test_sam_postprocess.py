"""SAM's geometry equals Python's arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zsas_jax.networks.sam import (
    SamConfig,
    frame_size,
    normalize_pixels,
    scale_coordinates,
)
from zsas_jax.networks.sam.postprocess import LARGEST_EXACT_SIDE

side = st.integers(1, LARGEST_EXACT_SIDE)
traced_frame_size = jax.jit(frame_size, static_argnames="image_size")


def python_frame_size(height, width, image_size):
    scale = image_size * 1.0 / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


@given(side, side, st.sampled_from((1024, 256, 240)))
@example(352, 11, 240)  # exactly 7.5 in integers, just below in float64
@example(77, 352, 240)
@example(16384, 1, 1024)
@example(1, 1, 1024)
@settings(max_examples=100, deadline=None)
def test_frame_size_of_traced_sizes(height, width, image_size):
    expected = python_frame_size(height, width, image_size)
    assert frame_size(height, width, image_size) == expected
    traced = traced_frame_size(height, width, image_size=image_size)
    assert tuple(map(int, traced)) == expected


@pytest.mark.parametrize("image_size", [1024, 240, 49])
@pytest.mark.parametrize("longest", [1, 3, 352, 1023, 6272, 12544, 14336, 16383, 16384])
def test_frame_size_of_every_side(image_size, longest):
    sides = np.arange(1, longest + 1)
    heights, widths = traced_frame_size(sides, np.full_like(sides, longest), image_size=image_size)
    scale = image_size * 1.0 / longest
    np.testing.assert_array_equal(heights, np.maximum((sides * scale + 0.5).astype(int), 1))
    assert (np.asarray(widths) == image_size).all()


def test_coordinates_scale_by_the_rounded_sizes():
    original, frame = (333, 500), frame_size(333, 500, 1024)
    assert frame == (682, 1024)
    xy = jnp.array([[[499.0, 332.0]], [[250.0, 0.0]]])
    expected = np.asarray(xy) * [1024 / 500, 682 / 333]
    np.testing.assert_allclose(scale_coordinates(xy, original, frame), expected, rtol=1e-6)
    traced = jax.jit(scale_coordinates)(xy, jnp.array(original), jnp.array(frame))
    np.testing.assert_allclose(traced, expected, rtol=1e-6)


def test_normalised_mean_colour_is_zero():
    config = SamConfig.vit_b()
    pixels = jnp.array([config.pixel_mean, (255.0, 0.0, 0.0)])
    result = np.asarray(normalize_pixels(pixels, config))
    np.testing.assert_allclose(result[0], 0, atol=1e-6)
    np.testing.assert_allclose(result[1], [2.2489, -2.0357, -1.8044], atol=1e-4)
