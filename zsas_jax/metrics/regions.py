"""Anomalous regions of a mask: 8-connected components and what each of their pixels weighs."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

_EIGHT_CONNECTED = np.ones((3, 3), bool)


class RegionWeights(NamedTuple):
    """Weights of the mask's pixels in row-major order, and the number of regions."""

    weights: Float[np.ndarray, " pixels"]
    regions: int


def region_weights(mask: Bool[np.ndarray, "h w"]) -> RegionWeights:
    """1 / area of each anomalous pixel's region, so that every region weighs one."""
    if not mask.any():
        return RegionWeights(np.zeros(0), 0)
    # Labels of the bounding box alone: defects are small.
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels = np.zeros(box.shape, np.int32)
    ndimage.label(box, _EIGHT_CONNECTED, output=labels)
    labels = labels[box]
    areas = np.bincount(labels, minlength=1)
    return RegionWeights(1.0 / areas[labels], len(areas) - 1)
