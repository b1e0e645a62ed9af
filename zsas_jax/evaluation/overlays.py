"""Strips of pictures: photo, truth, anomaly map and result side by side.

The colours (Okabe and Ito; magma) can be told apart by colour-blind people and in grey print;
contours have a dark rim, so that they are seen on every photo.
"""

import os
import types
from collections.abc import Mapping

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from zsas_jax.files import atomic_path
from zsas_jax.methods.base import Boxes, Points, Stage

PANEL = 384  # longer side of a panel, pixels
GAP, BAR, CAPTION = 8, 10, 26  # pixels: between panels, colour bar, line of text
TRUTH = (0, 190, 140)  # green
RESULT = (255, 120, 0)  # orange
BOX = (240, 228, 66)  # yellow
POSITIVE, NEGATIVE = (86, 180, 233), (213, 94, 0)  # blue discs, red crosses
RIM, PAPER, INK = (0, 0, 0), (255, 255, 255), (30, 30, 30)
QUALITY = 90


# One photo's stages, a batch of 1 on the host, by name.
Stages = Mapping[str, Stage]
NO_STAGES: Stages = types.MappingProxyType({})


def colour_map(anomaly_map: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A map in [0, 1] in magma: black is 0, light yellow is 1."""
    table = matplotlib.colormaps["magma"](np.arange(256), bytes=True)
    return np.asarray(table)[:, :3][np.rint(np.clip(anomaly_map, 0, 1) * 255).astype(np.uint8)]


def overlay(
    photo: UInt8[np.ndarray, "h w 3"],
    anomaly_map: Float[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    *,
    truth: Bool[np.ndarray, "h w"] | None = None,
    stages: Stages = NO_STAGES,
    verdict: str = "",
) -> Image.Image:
    """The strip of one photo; without `truth` its panel is left out. Prompts among the stages are
    drawn on the result.
    """
    height, width = photo.shape[:2]
    panels = photo_and_truth(photo, truth, PANEL, (96, 48))
    small = panels[0][1]
    size = small.size
    heat = Image.fromarray(colour_map(anomaly_map)).resize(size, Image.Resampling.BILINEAR)
    panels.append((f"anomaly map, highest {anomaly_map.max():.2f}", heat))
    result = with_contour(small, shrink_mask(mask, size), RESULT)
    for stage in stages.values():
        draw_prompts(result, stage, size[0] / width, size[1] / height)
    panels.append((f"result: {verdict}" if verdict else "result", result))
    return _strip(panels, size)


def photo_and_truth(
    photo: UInt8[np.ndarray, "h w 3"],
    truth: Bool[np.ndarray, "h w"] | None,
    side: int,
    least: tuple[int, int],
) -> list[tuple[str, Image.Image]]:
    """The first panels with their captions: the photo, and its truth where that is known.

    The longer side is `side` pixels, but (width, height) at least `least`: a line of one pixel
    still shows; the ratio of very long photos is not kept.
    """
    height, width = photo.shape[:2]
    scale = side / max(height, width)
    size = (max(round(width * scale), least[0]), max(round(height * scale), least[1]))
    small = Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    panels = [("photo", small)]
    if truth is not None:
        caption = "truth" if truth.any() else "truth: good"
        panels.append((caption, with_contour(small, shrink_mask(truth, size), TRUTH)))
    return panels


def save_overlay(
    path: str | os.PathLike[str],
    photo: UInt8[np.ndarray, "h w 3"],
    anomaly_map: Float[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    *,
    truth: Bool[np.ndarray, "h w"] | None = None,
    stages: Stages = NO_STAGES,
    verdict: str = "",
) -> None:
    """Writes `overlay` as JPEG."""
    strip = overlay(photo, anomaly_map, mask, truth=truth, stages=stages, verdict=verdict)
    with atomic_path(path) as part:
        strip.save(part, format="JPEG", quality=QUALITY, subsampling=0)


def _strip(panels: list[tuple[str, Image.Image]], size: tuple[int, int]) -> Image.Image:
    width, height = size
    # Captions of narrow panels need room of their own.
    pitch = max(width, 230) + GAP
    strip = Image.new("RGB", (pitch * len(panels) + GAP, height + CAPTION + BAR + 2 * GAP), PAPER)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=15)
    for index, (caption, panel) in enumerate(panels):
        left = GAP + index * pitch
        draw.text((left, 5), caption, INK, font)
        strip.paste(panel, (left, CAPTION))
        if caption.startswith("anomaly map"):
            ramp = colour_map(np.tile(np.linspace(0, 1, max(width - 36, 8)), (BAR, 1)))
            top = CAPTION + height + 5
            strip.paste(Image.fromarray(ramp), (left + 16, top))
            draw.text((left + 2, top - 4), "0", INK, font)
            draw.text((left + ramp.shape[1] + 22, top - 4), "1", INK, font)
    return strip


def shrink_mask(
    mask: Bool[np.ndarray, "h w"], size: tuple[int, int]
) -> Bool[np.ndarray, "new_h new_w"]:
    """Any coverage counts, so that a small defect does not vanish from the picture."""
    levels = Image.fromarray(np.uint8(mask) * np.uint8(255))
    return np.asarray(levels.resize(size, Image.Resampling.BOX)) > 0


def with_contour(
    picture: Image.Image, mask: Bool[np.ndarray, "h w"], colour: tuple[int, int, int]
) -> Image.Image:
    """The picture with a line around the mask, just outside of it, and a dark rim."""
    pixels = np.array(picture)
    if mask.any():
        structure = np.ones((3, 3), bool)
        line = np.asarray(ndimage.binary_dilation(mask, structure, 2)) & ~mask
        rim = np.asarray(ndimage.binary_dilation(mask, structure, 3)) & ~mask & ~line
        if not line.any():  # All of it is anomalous: a frame.
            line = np.logical_not(ndimage.binary_erosion(mask, structure, 2))
        pixels[rim], pixels[line] = RIM, colour
    return Image.fromarray(pixels)


def draw_prompts(picture: Image.Image, stage: Stage, x_scale: float, y_scale: float) -> None:
    """Draws the valid points or boxes of a stage; other kinds are left out."""
    draw = ImageDraw.Draw(picture)
    match stage:
        case Boxes(boxes, valid):
            scale = np.array([x_scale, y_scale, x_scale, y_scale])
            for corners in (np.asarray(boxes[0])[valid[0]] * scale).tolist():
                draw.rectangle(corners, outline=RIM, width=3)
                draw.rectangle(corners, outline=BOX, width=1)
        case Points(points, labels, valid):
            places = (np.asarray(points[0])[valid[0]] * np.array([x_scale, y_scale])).tolist()
            for (x, y), label in zip(places, labels[0][valid[0]], strict=True):
                _draw_point(draw, x, y, bool(label))


def _draw_point(draw: ImageDraw.ImageDraw, x: float, y: float, positive: bool) -> None:
    if positive:
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=POSITIVE, outline=RIM)
    else:
        for colour, line in ((RIM, 4), (NEGATIVE, 2)):
            draw.line((x - 4, y - 4, x + 4, y + 4), colour, line)
            draw.line((x - 4, y + 4, x + 4, y - 4), colour, line)
