"""The panels of one photo, as in the papers' figures: photo, truth, stages, map and result.

Stages are drawn by their kind and called by their name, whatever method they are of. The panels are
single small JPEGs, so that a page can lay them out for a phone as well as for a screen.
"""

import io
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from zsas_jax.evaluation.overlays import (
    RESULT,
    Stages,
    colour_map,
    draw_prompts,
    photo_and_truth,
    shrink_mask,
    with_contour,
)
from zsas_jax.methods.base import Boxes, Heat, Masks, Points

SIDE = 256  # longer side of a panel, pixels
QUALITY = 82
REGION_COLOURS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167))


class Panel(NamedTuple):
    """A picture with its caption."""

    caption: str
    picture: Image.Image
    kind: str
    """"photo", "map", "prompts" or "masks": what colours mean."""


def panels(
    photo: UInt8[np.ndarray, "h w 3"],
    anomaly_map: Float[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    stages: Stages,
    truth: Bool[np.ndarray, "h w"] | None = None,
) -> list[Panel]:
    """The panels of one photo; points and boxes share one.

    `stages` are of this photo alone (b = 1), on its canvas.
    """
    height, width = photo.shape[:2]
    found = [Panel(*item, "photo") for item in photo_and_truth(photo, truth, SIDE, (64, 32))]
    small = found[0].picture
    size = small.size
    prompts = {name: s for name, s in stages.items() if isinstance(s, Points | Boxes)}
    for name, stage in stages.items():
        match stage:
            case Heat(values):
                heat = np.asarray(values[0, :height, :width])
                # A method that refines nothing ends with its first map.
                if not np.array_equal(heat, anomaly_map):
                    found.append(Panel(name, _heat(heat, size), "map"))
            case Masks():
                regions = masks_of(stage, (height, width))
                found.append(Panel(name, _painted(small, regions), "masks"))
            case _ if name == next(iter(prompts), None):
                asked = small.copy()
                for prompt in prompts.values():
                    draw_prompts(asked, prompt, size[0] / width, size[1] / height)
                found.append(Panel(", ".join(prompts), asked, "prompts"))
    found.append(Panel("anomaly map", _heat(anomaly_map, size), "map"))
    result = with_contour(small, shrink_mask(mask, size), RESULT)
    return [*found, Panel("result", result, "photo")]


def masks_of(stage: Masks, shape: tuple[int, int]) -> Bool[np.ndarray, "r h w"]:
    """The mask of the highest quality of each valid region of one photo, at the photo's size."""
    valid = np.asarray(stage.valid[0])
    logits, quality = np.asarray(stage.logits[0])[valid], np.asarray(stage.quality[0])[valid]
    best = logits[np.arange(len(logits)), quality.argmax(1)]
    rows, columns = (
        ((np.arange(side) + 0.5) / side * share * low).astype(np.int64).clip(max=low - 1)
        for side, share, low in zip(shape, _shares(stage), best.shape[1:], strict=True)
    )
    return best[:, rows[:, None], columns] > 0


def jpeg(picture: Image.Image) -> bytes:
    """The picture as a JPEG file."""
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=QUALITY)
    return file.getvalue()


def _shares(stage: Masks) -> list[float]:
    """The share of the logits' rows and columns that the photo takes."""
    return [float(share) for share in stage.extent[0]]


def _heat(values: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Image.Image:
    levels = Image.fromarray(values.astype(np.float32, copy=False))
    return Image.fromarray(colour_map(np.asarray(levels.resize(size, Image.Resampling.BILINEAR))))


def _painted(picture: Image.Image, regions: Bool[np.ndarray, "r h w"]) -> Image.Image:
    for index, region in enumerate(regions):
        colour = REGION_COLOURS[index % len(REGION_COLOURS)]
        covered = shrink_mask(region, picture.size)
        pixels = np.array(picture)
        pixels[covered] = (0.45 * pixels[covered] + 0.55 * np.array(colour)).astype(np.uint8)
        picture = with_contour(Image.fromarray(pixels), covered, colour)
    return picture
