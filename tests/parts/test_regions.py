"""Regions against scikit-image and SciPy on masks of every density, and on snakes and spirals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.measure import label

from zsas_jax.parts.regions import (
    connected_components,
    dilate_disc,
    largest_regions,
    mask_boxes,
)

SHAPES = [(24, 24), (17, 30), (1, 13), (13, 1), (1, 1), (2, 3)]
components = jax.jit(connected_components)


def spiral(size):
    """One long corridor of single pixels that winds to the middle."""
    mask = np.zeros((size, size), bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[y, x] = True
    for _ in range(size * size):
        ahead = (y + 2 * dy, x + 2 * dx)
        blocked = not (0 <= y + dy < size and 0 <= x + dx < size)
        if not blocked and 0 <= ahead[0] < size and 0 <= ahead[1] < size:
            blocked = mask[ahead]
        if blocked:
            dy, dx = dx, -dy
            if (
                mask[(y + dy) % size, (x + dx) % size]
                or mask[(y + 2 * dy) % size, (x + 2 * dx) % size]
            ):
                break
            continue
        y, x = y + dy, x + dx
        mask[y, x] = True
    return mask


def snake(size):
    """Rows joined at alternating ends."""
    mask = np.zeros((size, size), bool)
    mask[::2] = True
    mask[1::4, -1] = True
    mask[3::4, 0] = True
    return mask


@settings(max_examples=150, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    density=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_labels_equal_skimage_on_random_masks_of_every_density(shape, density, seed):
    mask = np.random.default_rng(seed).random(shape) < density
    np.testing.assert_array_equal(components(jnp.asarray(mask)), label(mask, connectivity=2))


@pytest.mark.parametrize("size", [33, 64])
@pytest.mark.parametrize("shape", [spiral, snake])
def test_labels_of_long_thin_components(shape, size):
    mask = shape(size)
    expected = label(mask, connectivity=2)
    assert mask.sum() > size * size / 3
    assert expected.max() == 1
    np.testing.assert_array_equal(components(jnp.asarray(mask)), expected)
    for turned in (mask[::-1], mask.T, mask[::-1, ::-1]):
        np.testing.assert_array_equal(
            components(jnp.asarray(turned)), label(turned, connectivity=2)
        )


def test_labels_of_a_batch_with_very_different_images():
    generator = np.random.default_rng(0)
    masks = np.stack(
        [spiral(33), np.zeros((33, 33), bool), np.ones((33, 33), bool)]
        + [generator.random((33, 33)) < density for density in (0.1, 0.3, 0.4, 0.5, 0.8)]
    )
    found = jax.jit(jax.vmap(connected_components))(jnp.asarray(masks))
    for mask, labels in zip(masks, found, strict=True):
        np.testing.assert_array_equal(labels, label(mask, connectivity=2))


@pytest.mark.parametrize("shape", [(20, 31), (1, 1)])
@pytest.mark.parametrize("density", [0.0, 0.15, 0.4, 1.0])
def test_largest_regions_equal_numpy(shape, density):
    count = 6
    mask = np.random.default_rng(1).random(shape) < density
    labels = label(mask, connectivity=2)
    areas = np.bincount(labels.ravel())[1:]
    # Stable: ties stay in raster order.
    order = np.argsort(-areas, kind="stable")[:count]
    regions = jax.jit(largest_regions, static_argnums=1)(jnp.asarray(labels, jnp.int32), count)
    assert regions.masks.shape == (count, *shape)
    np.testing.assert_array_equal(regions.valid, np.arange(count) < len(areas))
    for slot in range(count):
        expected = labels == order[slot] + 1 if slot < len(order) else np.zeros(shape, bool)
        np.testing.assert_array_equal(regions.masks[slot], expected)
        assert regions.areas[slot] == expected.sum()
        box = [0, 0, 0, 0]
        if expected.any():
            y, x = np.nonzero(expected)
            box = [x.min(), y.min(), x.max(), y.max()]
        np.testing.assert_array_equal(regions.boxes[slot], box)


def test_boxes_of_empty_and_single_pixel_masks():
    masks = np.zeros((2, 5, 7), bool)
    masks[1, 3, 6] = True
    boxes, found = mask_boxes(jnp.asarray(masks))
    np.testing.assert_array_equal(boxes, [[0, 0, 0, 0], [6, 3, 6, 3]])
    np.testing.assert_array_equal(found, [False, True])


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.0, 2.5, 5.0, 10.24, 60.0])
def test_dilation_equals_the_euclidean_distance_transform(radius):
    generator = np.random.default_rng(2)
    masks = generator.random((3, 30, 41)) < np.array([0.002, 0.01, 0.2])[:, None, None]
    masks = np.concatenate([masks, np.zeros((1, 30, 41), bool)])
    found = jax.jit(dilate_disc, static_argnums=1)(jnp.asarray(masks), radius)
    for mask, dilated in zip(masks, found, strict=True):
        expected = ndimage.distance_transform_edt(~mask) <= radius if mask.any() else mask
        np.testing.assert_array_equal(dilated, expected)
