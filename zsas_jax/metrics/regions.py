"""Anomalous regions of a mask: 8-connected components and the areas of their pixels' regions."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32
from scipy import ndimage

_EIGHT_CONNECTED = np.ones((3, 3), bool)


class RegionAreas(NamedTuple):
    """Of each pixel of the mask in row-major order, its region's area; the number of regions."""

    areas: Int[np.ndarray, " pixels"]
    regions: int


def label_regions(mask: Bool[np.ndarray, "h w"]) -> tuple[Int32[np.ndarray, "h w"], int]:
    """Components 1, 2, ... (0 is outside) and how many there are."""
    labels = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, _EIGHT_CONNECTED, output=labels)
    return labels, int(labels.max(initial=0))


def region_areas(mask: Bool[np.ndarray, "h w"]) -> RegionAreas:
    """Areas in pixels: with weights of 1 / area every region weighs one."""
    if not mask.any():
        return RegionAreas(np.zeros(0, np.int64), 0)
    # Labels of the bounding box alone: defects are small.
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    labels, regions = label_regions(box)
    labels = labels[box]
    return RegionAreas(np.bincount(labels, minlength=1)[labels], regions)
