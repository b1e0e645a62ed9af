"""The evaluation resolution: maps and masks of all photos brought to one size before counting."""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from zsas_jax.errors import ConfigError

NATIVE = "native"
DEFAULT_RESOLUTION = 518  # as APRIL-GAN and AnomalyCLIP evaluate; pixels, stretched

Resolution = int | Literal["native"]


def parse_resolution(value: str | int) -> Resolution:
    """A side in pixels, or "native".

    Raises:
        ConfigError: anything else.
    """
    if value == NATIVE:
        return NATIVE
    try:
        side = int(value)
    except ValueError:
        side = 0
    if side < 1:
        raise ConfigError(f"resolution is {value!r}: expected pixels, like 518, or 'native'")
    return side


def resize_map(
    anomaly_map: Float[np.ndarray, "h w"], height: int, width: int
) -> Float32[np.ndarray, "height width"]:
    """Bilinear, without antialiasing, half-pixel centres: as torch's `interpolate` and OpenCV."""
    rows, row_share = _taps(anomaly_map.shape[0], height)
    columns, column_share = _taps(anomaly_map.shape[1], width)
    low, high = anomaly_map[rows[0]], anomaly_map[rows[1]]
    # Only the columns that are read, so that shrinking a huge photo's map costs little.
    left = _mix(low[:, columns[0]], high[:, columns[0]], row_share[:, None])
    right = _mix(low[:, columns[1]], high[:, columns[1]], row_share[:, None])
    return _mix(left, right, column_share).astype(np.float32, copy=False)


def resize_mask(
    mask: Bool[np.ndarray, "h w"], height: int, width: int
) -> Bool[np.ndarray, "height width"]:
    """Nearest neighbour, half-pixel centres."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for old, new in zip(mask.shape, (height, width), strict=True)
    )
    return mask[rows[:, None], columns]


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    return first + (second - first) * share


def _taps(
    old: int, new: int
) -> tuple[tuple[Int[np.ndarray, " new"], Int[np.ndarray, " new"]], Float32[np.ndarray, " new"]]:
    """The two source positions of each output position, and the second one's share."""
    centre = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = centre.astype(np.int64)
    return (low, np.minimum(low + 1, old - 1)), (centre - low).astype(np.float32)
