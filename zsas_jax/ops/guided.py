"""The guided filter: a coarse map whose edges follow those of a photo.

Reference: He, Sun and Tang, "Guided Image Filtering" (TPAMI 2013), Eqs. 14 to 16 for a colour
guide; He and Sun, "Fast Guided Filter" (arXiv 1505.00996) computes it on a small copy of the photo.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from zsas_jax.ops.resize import resize_bilinear, resize_pillow


def guided_upsampling(
    maps: Float[Array, "b gh gw"],
    images: UInt8[Array, "b h w 3"],
    sizes: Int[Array, "b 2"],
    radius: float,
    epsilon: float,
) -> Float[Array, "b h w"]:
    """Coarse maps in [0, 1] on the canvases of their photos, edges at those of the photos.

    Computed on twice the maps' grid (the fast guided filter); zero outside the photos' true sizes.

    Args:
        maps: each covers its whole photo.
        images: photos, each in the top left corner of its canvas.
        sizes: true (height, width) of each photo, pixels; may be traced.
        radius: how far a window reaches to each side, as a fraction of the photo's sides.
        epsilon: see `guided_coefficients`.
    """
    grid, canvas = (maps.shape[1], maps.shape[2]), (images.shape[1], images.shape[2])
    frame = (2 * grid[0], 2 * grid[1])
    rows, columns = (max(1, round(radius * side)) for side in frame)
    guides = resize_pillow(images, sizes, frame, frame, "bilinear") / 255

    def upsample(coarse: Array, image: Array, size: Array, guide: Array) -> Array:
        target = resize_bilinear(coarse, grid, frame, frame)
        lines = guided_coefficients(guide, target, (rows, columns), epsilon)
        lines = resize_bilinear(jnp.moveaxis(lines, -1, 0), frame, size, canvas)
        colours = jnp.moveaxis(image, -1, 0) / 255
        return jnp.clip(jnp.sum(lines[:3] * colours, axis=0) + lines[3], 0, 1)

    return jax.vmap(upsample)(maps, images, sizes, guides)


def guided_coefficients(
    guide: Float[Array, "h w 3"],
    target: Float[Array, "h w"],
    radius: tuple[int, int],
    epsilon: float,
) -> Float[Array, "h w 4"]:
    """What makes the map out of the guide: around each pixel, target = a . guide + b.

    Args:
        guide: colours in [0, 1].
        target: the map to be sharpened.
        radius: pixels to each side of a window, (rows, columns).
        epsilon: variance of a colour from which on the map follows the guide's edges.

    Returns:
        a (three channels) and b, each averaged over the windows that hold the pixel.
    """
    height, width = target.shape
    rows, columns = _mean_matrix(height, radius[0]), _mean_matrix(width, radius[1])
    guide, target = guide.astype(jnp.float32), target.astype(jnp.float32)

    def mean(x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        highest = jax.lax.Precision.HIGHEST
        return jnp.einsum("yh,hwc,xw->yxc", rows, x, columns, precision=highest)

    # Moments about the photo's mean colour: those about black would cancel in float32.
    centre = guide.mean((0, 1))
    colours = guide - centre
    first, second = np.triu_indices(3)
    moments = mean(
        jnp.concatenate(
            [
                colours,
                target[..., None],
                colours * target[..., None],
                colours[..., first] * colours[..., second],
            ],
            axis=-1,
        )
    )
    colour, level, joint, products = jnp.split(moments, (3, 4, 7), axis=-1)
    variance = products - colour[..., first] * colour[..., second]
    variance += epsilon * (first == second)
    slope = _solve_symmetric(variance, joint - colour * level)
    offset = level - jnp.sum(slope * (colour + centre), axis=-1, keepdims=True)
    return mean(jnp.concatenate([slope, offset], axis=-1))


def _mean_matrix(length: int, radius: int) -> Float[np.ndarray, "{length} {length}"]:
    """Means over windows of 2 radius + 1, which are cut at the border."""
    places = np.arange(length)
    near = np.abs(places[:, None] - places) <= radius
    return (near / near.sum(1, keepdims=True)).astype(np.float32)


def _solve_symmetric(
    matrix: Float[Array, "*n 6"], right: Float[Array, "*n 3"]
) -> Float[Array, "*n 3"]:
    """Solves positive definite 3 x 3 systems (upper triangles, row by row).

    By L D L^T, elementwise: no loop over pixels. Cofactors would cancel where the channels are
    alike (grey photos), whose covariances have rank 1 but for epsilon.
    """
    xx, xy, xz, yy, yz, zz = (matrix[..., k] for k in range(6))
    a, b, c = (right[..., k] for k in range(3))
    lower_y, lower_z = xy / xx, xz / xx
    diagonal_y = yy - lower_y * xy
    rest = yz - lower_y * xz
    lower_yz = rest / diagonal_y
    diagonal_z = zz - lower_z * xz - lower_yz * rest
    b = b - lower_y * a
    c = c - lower_z * a - lower_yz * b
    z = c / diagonal_z
    y = b / diagonal_y - lower_yz * z
    x = a / xx - lower_y * y - lower_z * z
    return jnp.stack([x, y, z], axis=-1)
