"""Which pictures a report shows, and their panels: photo, truth, rough map, prompts, masks, result.

As in the papers' figures. The panels are single small JPEGs, so that a page can lay them out for a
phone as well as for a screen.
"""

import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from zsas_jax.report.overlays import (
    RESULT,
    Prompts,
    colour_map,
    draw_prompts,
    photo_and_truth,
    shrink_mask,
    with_contour,
)

SIDE = 256  # longer side of a panel, pixels
QUALITY = 82
MOST_STRIPS = 60  # a page of more is cut down to the categories that it has room for
REGION_COLOURS = ((86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167))


class Photo(NamedTuple):
    """What is kept of every photo: a row of tables, and what pictures are chosen by."""

    index: int  # position in the data source
    name: str
    category: str
    defect: str
    label: int  # 0 good, 1 anomalous, -1 unlabeled
    score: float
    verdict: str
    area: float  # share of the photo called anomalous
    ap: float | None  # pixel AP of this photo alone, where it has an anomaly


class Chosen(NamedTuple):
    """A photo for the report, and why it is there."""

    kind: str
    photo: Photo


def choose(photos: Iterable[Photo], per_category: int = 1) -> list[Chosen]:
    """The best, median and worst pictures of each category, and its worst false alarm.

    Anomalous pictures rank by their own pixel AP, good ones by image score. Pictures without truth
    rank by image score: highest, median and lowest. `per_category` is how many of each kind; ties
    go by name.
    """
    groups: dict[str, list[Photo]] = {}
    for photo in photos:
        groups.setdefault(photo.category, []).append(photo)
    room = max(1, MOST_STRIPS // (4 * max(per_category, 1)))
    chosen: list[Chosen] = []
    for category in sorted(groups)[:room]:
        members = sorted(groups[category], key=lambda photo: photo.name)
        judged = sorted((p for p in members if p.ap is not None), key=lambda p: -(p.ap or 0.0))
        chosen += _spread(judged, ("best", "median", "worst"), per_category)
        good = sorted((p for p in members if p.label == 0), key=lambda p: -p.score)
        chosen += [Chosen("highest good", photo) for photo in good[:per_category]]
        if not judged and not good:
            ranked = sorted(members, key=lambda p: -p.score)
            chosen += _spread(ranked, ("highest", "median", "lowest"), per_category)
    return chosen


def _spread(ranked: Sequence[Photo], kinds: tuple[str, str, str], count: int) -> list[Chosen]:
    """The first, the middle and the last ones, each photo once."""
    middle = max((len(ranked) - count) // 2, 0)
    starts = (0, middle, max(len(ranked) - count, 0))
    seen: set[int] = set()
    chosen = []
    for kind, start in zip(kinds, starts, strict=True):
        for photo in ranked[start : start + count]:
            if photo.index not in seen:
                seen.add(photo.index)
                chosen.append(Chosen(kind, photo))
    return chosen


def panels(
    photo: UInt8[np.ndarray, "h w 3"],
    anomaly_map: Float[np.ndarray, "h w"],
    rough_map: Float[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    *,
    truth: Bool[np.ndarray, "h w"] | None = None,
    prompts: Prompts | None = None,
    region_masks: Bool[np.ndarray, "r h w"] | None = None,
) -> list[tuple[str, Image.Image]]:
    """Captions and pictures of one photo; what the method does not have is left out."""
    height, width = photo.shape[:2]
    found = photo_and_truth(photo, truth, SIDE, (64, 32))
    small = found[0][1]
    size = small.size
    found.append(("rough map" if prompts else "anomaly map", _heat(rough_map, size)))
    if prompts is not None:
        asked = small.copy()
        draw_prompts(asked, prompts, size[0] / width, size[1] / height)
        found.append(("prompts", asked))
    if region_masks is not None:
        painted = small
        for index, region in enumerate(region_masks):
            colour = REGION_COLOURS[index % len(REGION_COLOURS)]
            covered = shrink_mask(region, size)
            painted = with_contour(_tinted(painted, covered, colour), covered, colour)
        found.append(("SAM's masks", painted))
    if prompts is not None:
        found.append(("anomaly map", _heat(anomaly_map, size)))
    found.append(("result", with_contour(small, shrink_mask(mask, size), RESULT)))
    return found


def low_resolution_masks(
    logits: Float[np.ndarray, "r m lh lw"],
    iou: Float[np.ndarray, "r m"],
    frame_share: tuple[float, float],
    shape: tuple[int, int],
) -> Bool[np.ndarray, "r h w"]:
    """Each region's mask of the highest predicted IoU, at the photo's size.

    `frame_share` is the part of SAM's frame (rows, columns) that the photo takes.
    """
    best = logits[np.arange(len(logits)), iou.argmax(1)]
    rows, columns = (
        ((np.arange(side) + 0.5) / side * share * low).astype(np.int64).clip(max=low - 1)
        for side, share, low in zip(shape, frame_share, best.shape[1:], strict=True)
    )
    return best[:, rows[:, None], columns] > 0


def jpeg(picture: Image.Image) -> bytes:
    """The picture as a JPEG file."""
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=QUALITY)
    return file.getvalue()


def _heat(anomaly_map: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Image.Image:
    levels = Image.fromarray(anomaly_map.astype(np.float32, copy=False))
    return Image.fromarray(colour_map(np.asarray(levels.resize(size, Image.Resampling.BILINEAR))))


def _tinted(
    picture: Image.Image, mask: Bool[np.ndarray, "h w"], colour: tuple[int, int, int]
) -> Image.Image:
    pixels = np.array(picture)
    pixels[mask] = (0.45 * pixels[mask] + 0.55 * np.array(colour)).astype(np.uint8)
    return Image.fromarray(pixels)
