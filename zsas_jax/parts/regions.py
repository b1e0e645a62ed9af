"""Regions of a binary mask: connected components, the largest of them, their boxes and rings.

Everything has static shapes and runs inside XLA, also under `jax.vmap`.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Regions(NamedTuple):
    """The Q largest regions, largest first (ties: raster order); slots beyond them are invalid.

    `masks` are disjoint; `areas` in pixels; `boxes` are (x0, y0, x1, y1), the first and the last
    pixel inside, zeros where invalid.
    """

    masks: Bool[Array, "q h w"]
    areas: Int[Array, " q"]
    boxes: Float[Array, "q 4"]
    valid: Bool[Array, " q"]


def connected_components(mask: Bool[Array, "h w"]) -> Int[Array, "h w"]:
    """Labels the 8-connected components 1, 2, ... in raster order of their first pixels; 0 outside.

    Pixels of one 2 x 2 block always touch, so the blocks are labelled: a quarter of the nodes. Each
    round, every tree is hooked to the smallest root next to it and paths are halved until flat, so
    the number of rounds grows with the logarithm of a component's size, also for spirals. Equal to
    `skimage.measure.label(mask, connectivity=2)`.
    """
    pixels = _blocks(mask)
    return _number_in_raster_order(mask, pixels, _block_roots(pixels))


def _blocks(image: Array) -> Array:
    """[h, w] to 2 x 2 blocks [rows, columns, 4]: top left, top right, bottom left, bottom right."""
    height, width = image.shape
    padded = jnp.pad(image, ((0, height % 2), (0, width % 2)))
    rows, columns = padded.shape[0] // 2, padded.shape[1] // 2
    return padded.reshape(rows, 2, columns, 2).transpose(0, 2, 1, 3).reshape(rows, columns, 4)


def _block_roots(pixels: Bool[Array, "r c 4"]) -> Int[Array, " n"]:
    """For each block the flat index of the first block of its component."""
    rows, columns, _ = pixels.shape
    count = rows * columns
    start = jnp.arange(count, dtype=jnp.int32)
    links = _links(pixels)

    def smallest_neighbour(parent: Array) -> Array:
        grid = jnp.pad(parent.reshape(rows, columns), 1, constant_values=count)
        best = parent.reshape(rows, columns)
        for (dy, dx), linked in links:
            other = grid[1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns]
            best = jnp.where(linked, jnp.minimum(best, other), best)
        return best.ravel()

    def flatten(parent: Array) -> Array:
        """Pointer jumping until every block points at its root."""
        return jax.lax.while_loop(
            lambda pair: jnp.any(pair[0] != pair[1]),
            lambda pair: (pair[1], pair[1][pair[1]]),
            (parent, parent[parent]),
        )[1]

    def hook(state: tuple[Array, Array]) -> tuple[Array, Array]:
        parent, _ = state
        best = smallest_neighbour(parent)
        # Only roots move, so trees only merge: at least half of them do within two rounds.
        hooked = flatten(parent.at[parent].min(best))
        return hooked, jnp.any(hooked != parent)

    return jax.lax.while_loop(lambda state: state[1], hook, (start, jnp.array(True)))[0]


def _links(pixels: Bool[Array, "r c 4"]) -> list[tuple[tuple[int, int], Bool[Array, "r c"]]]:
    """The 8 neighbour offsets (dy, dx) and whether a block touches that neighbour."""
    top_left, top_right, bottom_left, bottom_right = jnp.moveaxis(pixels, -1, 0)
    # The part of a block that faces each direction, and the part of the neighbour that faces back.
    faces = {
        (0, 1): (top_right | bottom_right, top_left | bottom_left),
        (1, 0): (bottom_left | bottom_right, top_left | top_right),
        (1, 1): (bottom_right, top_left),
        (1, -1): (bottom_left, top_right),
    }
    links = []
    for (dy, dx), (facing, facing_back) in faces.items():
        linked = facing & _shifted(facing_back, dy, dx)
        links.append(((dy, dx), linked))
        links.append(((-dy, -dx), _shifted(linked, -dy, -dx)))
    return links


def _shifted(x: Bool[Array, "r c"], dy: int, dx: int) -> Bool[Array, "r c"]:
    """y, x holds what was at y + dy, x + dx; False beyond the border."""
    rows, columns = x.shape
    padded = jnp.pad(x, 1)
    return padded[1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns]


def _number_in_raster_order(
    mask: Bool[Array, "h w"], pixels: Bool[Array, "r c 4"], roots: Int[Array, " n"]
) -> Int[Array, "h w"]:
    height, width = mask.shape
    rows, columns, _ = pixels.shape
    block_row, block_column = np.indices((rows, columns))
    first = (2 * block_row * width + 2 * block_column)[..., None] + np.array(
        [0, 1, width, width + 1]
    )
    outside = height * width
    first = jnp.where(pixels, jnp.asarray(first, jnp.int32), outside).min(axis=-1).ravel()
    # First pixel of each component, at the index of its root block.
    first = jnp.full_like(first, outside).at[roots].min(first)
    is_first = jnp.zeros(outside, jnp.int32).at[first].set(1, mode="drop")
    rank = jnp.cumsum(is_first)
    numbers = jnp.where(first < outside, rank[jnp.minimum(first, outside - 1)], 0)
    labels = numbers[roots].reshape(rows, columns)
    labels = jnp.repeat(jnp.repeat(labels, 2, axis=0), 2, axis=1)[:height, :width]
    return jnp.where(mask, labels, 0)


def largest_regions(labels: Int[Array, "h w"], count: int) -> Regions:
    """The `count` largest of the components numbered by `connected_components`."""
    # A 2 x 2 block touches one component at most: counting blocks takes a quarter of the additions.
    blocks = _blocks(labels)
    most = blocks.shape[0] * blocks.shape[1]
    areas = jnp.zeros(max(most, count) + 1, jnp.int32)
    areas = areas.at[blocks.max(axis=-1)].add(jnp.sum(blocks > 0, axis=-1, dtype=jnp.int32))
    areas, index = jax.lax.top_k(areas[1:], count)
    valid = areas > 0
    masks = (labels == (index + 1)[:, None, None]) & valid[:, None, None]
    return Regions(masks, areas, mask_boxes(masks)[0], valid)


def mask_boxes(masks: Bool[Array, "*n h w"]) -> tuple[Float[Array, "*n 4"], Bool[Array, "*n"]]:
    """Boxes (x0, y0, x1, y1) around masks, first and last pixel inside; and whether one is there.

    An empty mask has a box of zeros.
    """
    x0, x1 = _extent(masks.any(axis=-2))
    y0, y1 = _extent(masks.any(axis=-1))
    found = masks.any(axis=(-2, -1))
    boxes = jnp.stack([x0, y0, x1, y1], axis=-1).astype(jnp.float32)
    return jnp.where(found[..., None], boxes, 0), found


def _extent(occupied: Bool[Array, "*n s"]) -> tuple[Int[Array, "*n"], Int[Array, "*n"]]:
    size = occupied.shape[-1]
    first = jnp.argmax(occupied, axis=-1)
    return first, size - 1 - jnp.argmax(occupied[..., ::-1], axis=-1)


def dilate_disc(masks: Bool[Array, "*n h w"], radius: float) -> Bool[Array, "*n h w"]:
    """Dilation by the Euclidean disc: pixels at most `radius` pixels from one of the mask.

    Distances along columns first, by doubling steps; then, for each offset along the row, the disc
    admits columns that are near enough.
    """
    reach = math.floor(radius)
    if reach < 1:
        return masks
    distance = _column_distance(masks, reach)
    width = masks.shape[-1]
    offsets = np.arange(reach + 1)
    half_heights = np.floor(np.sqrt(np.maximum(radius**2 - offsets**2, 0))).astype(np.int16)
    blank = np.int16(reach + 1)
    sides = [(0, 0)] * (masks.ndim - 1) + [(reach, reach)]
    padded = jnp.pad(distance, sides, constant_values=blank)

    def add_offset(offset: Array, dilated: Array) -> Array:
        half_height = jnp.asarray(half_heights)[offset]
        left = jax.lax.dynamic_slice_in_dim(padded, reach - offset, width, axis=-1)
        right = jax.lax.dynamic_slice_in_dim(padded, reach + offset, width, axis=-1)
        return dilated | (jnp.minimum(left, right) <= half_height)

    def loop(masks: Array, unroll: bool) -> Array:
        return jax.lax.fori_loop(0, reach + 1, add_offset, masks, unroll=unroll)

    # Unrolled, it is one kernel of an accelerator: a loop would write the masks once an offset.
    return jax.lax.platform_dependent(
        masks,
        cpu=functools.partial(loop, unroll=False),
        default=functools.partial(loop, unroll=True),
    )


def _column_distance(masks: Bool[Array, "*n h w"], reach: int) -> Int[Array, "*n h w"]:
    """Distance to the nearest mask pixel of the same column; more than `reach` where it is far."""
    far = np.int16(16384)
    distance = jnp.where(masks, np.int16(0), far)
    step = 1
    while step <= reach:
        sides = [(0, 0)] * (masks.ndim - 2) + [(step, step), (0, 0)]
        padded = jnp.pad(distance, sides, constant_values=far)
        height = masks.shape[-2]
        above = jax.lax.slice_in_dim(padded, 0, height, axis=-2)
        below = jax.lax.slice_in_dim(padded, 2 * step, 2 * step + height, axis=-2)
        distance = jnp.minimum(distance, jnp.minimum(above, below) + np.int16(step))
        step *= 2
    return distance
