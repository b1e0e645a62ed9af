"""Resampling of maps and position embeddings to static sizes, with PyTorch's weights.

The resampling matrices are computed with NumPy at trace time. For traced sizes see `ops.resize`.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zsas_jax.errors import ConfigError
from zsas_jax.ops.layers import accumulation_dtype

POSITION_RULES = ("bicubic", "bicubic_antialias", "bilinear")


def resample_positions(
    grid: Float[Array, "h w channels"], height: int, width: int, rule: str = "bicubic"
) -> Float[Array, "{height} {width} channels"]:
    """Resamples a grid of embeddings as `torch.nn.functional.interpolate` does (half-pixel
    centres); computed in at least float32.

    Raises:
        ConfigError: an unknown rule.
    """
    if grid.shape[:2] == (height, width):
        return grid
    resampled = interpolate(grid.astype(accumulation_dtype(grid)), (height, width), rule=rule)
    return resampled.astype(grid.dtype)


def interpolate(
    x: Float[Array, "..."],
    size: tuple[int, int],
    *,
    channels_last: bool = True,
    rule: str = "bilinear",
) -> Float[Array, "..."]:
    """`torch.nn.functional.interpolate` to a (height, width), with half-pixel centres.

    Axes are [..., h, w, channels], or [..., h, w] without `channels_last`. In x's dtype.

    Raises:
        ConfigError: an unknown rule.
    """
    first = x.ndim - 3 if channels_last else x.ndim - 2
    rows, columns = (
        jnp.asarray(resampling_matrix(source, target, rule), x.dtype)
        for source, target in zip(x.shape[first : first + 2], size, strict=True)
    )
    equation = "Hh,...hwc,Ww->...HWc" if channels_last else "Hh,...hw,Ww->...HW"
    return jnp.einsum(equation, rows, x, columns, precision=jax.lax.Precision.HIGHEST)


def resampling_matrix(in_size: int, out_size: int, rule: str = "bicubic") -> np.ndarray:
    """The float64 matrix [out_size, in_size] that resamples one axis; each row sums to one.

    `bicubic`: 4 taps with a = -0.75, borders repeated (torch). `bicubic_antialias`: a = -0.5, the
    kernel widened when shrinking, borders cut and renormalised (torch's antialias, PIL).
    `bilinear`: 2 taps, borders repeated (torch).

    Raises:
        ConfigError: an unknown rule.
    """
    if rule == "bicubic_antialias":
        return _antialiased(in_size, out_size)
    if rule not in POSITION_RULES:
        raise ConfigError(
            f"Unknown position resampling rule {rule!r}, expected one of {POSITION_RULES}."
        )
    matrix = np.zeros((out_size, in_size))
    for row in range(out_size):
        centre = (row + 0.5) * in_size / out_size - 0.5
        first = math.floor(centre)
        if rule == "bicubic":
            taps = np.arange(first - 1, first + 3)
            weights = _cubic(centre - taps, a=-0.75)
        else:
            taps = np.arange(first, first + 2)
            weights = 1 - np.abs(centre - taps)
        np.add.at(matrix[row], np.clip(taps, 0, in_size - 1), weights)
    return matrix


def _antialiased(in_size: int, out_size: int) -> np.ndarray:
    matrix = np.zeros((out_size, in_size))
    stretch = max(in_size / out_size, 1.0)
    for row in range(out_size):
        centre = (row + 0.5) * in_size / out_size
        first = max(int(centre - 2 * stretch + 0.5), 0)
        last = min(int(centre + 2 * stretch + 0.5), in_size)
        taps = np.arange(first, last)
        weights = _cubic((taps + 0.5 - centre) / stretch, a=-0.5)
        matrix[row, taps] = weights / weights.sum()
    return matrix


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
