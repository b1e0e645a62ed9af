"""The three frames of a photo, and what takes maps from one to another.

The canvas holds the photo's own pixels in its top left corner; the patch grid is a network's view
of the stretched photo; SAM's square input frame holds the photo scaled in its top left corner.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zsas_jax.networks.sam import frame_size
from zsas_jax.ops.position import resampling_matrix
from zsas_jax.ops.resize import bilinear_matrix, resize_bilinear


def frames_of(sizes: Int[Array, "b 2"], side: int) -> Int[Array, "b 2"]:
    """Each photo's (height, width) in SAM's square input frame."""
    return jnp.stack(frame_size(sizes[:, 0], sizes[:, 1], side), axis=-1)


def inside_mask(sizes: Int[Array, "b 2"], shape: tuple[int, int]) -> Bool[Array, "b h w"]:
    """True in the top left `sizes` (height, width) of a canvas of `shape`."""
    rows = jnp.arange(shape[0]) < sizes[:, 0, None]
    columns = jnp.arange(shape[1]) < sizes[:, 1, None]
    return rows[:, :, None] & columns[:, None, :]


def map_in_frame(
    grid: Float[Array, "b gh gw"], frame: Int[Array, "b 2"], side: int
) -> tuple[Float[Array, "b side side"], Bool[Array, "b side side"]]:
    """A map of patches in SAM's input frame, and where the photo is in it; without a gradient."""
    shape = grid.shape[1], grid.shape[2]
    in_frame = jax.vmap(lambda x, size: resize_bilinear(x, shape, size, (side, side)))(
        jax.lax.stop_gradient(grid).astype(jnp.float32), frame
    )
    return in_frame, inside_mask(frame, (side, side))


def upscale_matrices(
    canvas: tuple[int, int],
    sizes: Int[Array, "b 2"],
    frame: Int[Array, "b 2"],
    low: tuple[int, int],
    side: int,
) -> tuple[Float[Array, "b h lh"], Float[Array, "b w lw"]]:
    """What takes low-resolution logits to the photo's own rows and columns.

    SAM's order (bilinear to its input frame, crop, bilinear to the photo) is linear along each
    axis, so that both steps are one product of matrices.

    Args:
        canvas: (height, width) of the canvas.
        sizes: true (height, width) of the photos.
        frame: as `frames_of` gives it.
        low: rows and columns of the logits.
        side: of SAM's input frame, pixels.
    """

    def matrix(axis: int) -> Array:
        to_frame = jnp.asarray(resampling_matrix(low[axis], side, "bilinear"), jnp.float32)
        to_photo = jax.vmap(lambda i, o: bilinear_matrix(i, o, side, canvas[axis]))(
            frame[:, axis], sizes[:, axis]
        )
        return jnp.einsum("bof,fl->bol", to_photo, to_frame, precision=jax.lax.Precision.HIGHEST)

    return matrix(0), matrix(1)
