"""What a person would outline in a generated picture: objects, their parts, pieces of a defect."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer
from scipy import ndimage
from skimage import measure

# Several parts that touch are one object more if together they cover such a share of the picture
# (pebbles or bricks that touch are none), and if no part with what it encloses is as much of it.
OBJECT_SHARE = (0.01, 0.5)
MAIN_PART = 0.95

Mask = Bool[np.ndarray, "h w"]


class Targets(NamedTuple):
    """Masks of connected pieces of the defect, and of objects and their parts."""

    defects: list[Mask]
    things: list[Mask]


def find_targets(segments: Integer[np.ndarray, "h w"], defect: Mask, least: int) -> Targets:
    """Everything with at least `least` pixels of its own.

    An object or part includes what it encloses, parts and defects: with a stain on it or a label
    in its middle, it has the outline that it has without. A hole through it stays a hole.
    """
    solid = defect | (segments > 0)
    own = np.where(defect, 0, segments)
    objects = np.asarray(measure.label(own > 0, connectivity=2))
    things = _masks(own, least, solid)
    low, high = (int(share * own.size) for share in OBJECT_SHARE)
    for whole in _masks(objects, max(least, low), solid):
        area = np.count_nonzero(whole)
        if area < high and all(
            np.count_nonzero(thing & whole) < MAIN_PART * area for thing in things
        ):
            things.append(whole)
    pieces = np.asarray(measure.label(defect, connectivity=2))
    return Targets(_masks(pieces, least, defect), things)


def _masks(labels: Integer[np.ndarray, "h w"], least: int, solid: Mask) -> list[Mask]:
    """Those of at least `least` pixels, with what is solid in their holes."""
    masks = []
    for number, window in enumerate(ndimage.find_objects(labels), 1):
        if window is None:
            continue
        inside = labels[window] == number
        if np.count_nonzero(inside) >= least:
            mask = np.zeros(labels.shape, bool)
            mask[window] = inside | ndimage.binary_fill_holes(inside) & solid[window]
            masks.append(mask)
    return masks
