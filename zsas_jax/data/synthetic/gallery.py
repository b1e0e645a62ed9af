"""Contact sheets of the generator, one tile a class: the pictures of docs/generator.md.

python -m zsas_jax.data.synthetic.gallery --output-dir docs/images
"""

import pathlib

import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from zsas_jax.data.phrases import words
from zsas_jax.data.synthetic.classes import CLASSES
from zsas_jax.data.synthetic.source import SyntheticSource

OUTLINE = (255, 0, 255)
LABEL = 16  # height in pixels of the line of text under a tile


def contact_sheet(
    split: str, *, columns: int = 6, tile: int = 140, seed: int = 0, good: bool = False
) -> Image.Image:
    """One picture of every class, with its defect outlined, or of good parts."""
    names = tuple(CLASSES[split])
    source = SyntheticSource(split, seed, per_class=2, size=2 * tile)
    rows = -(-len(names) // columns)
    sheet = Image.new("RGB", (columns * tile, rows * (tile + LABEL)), "white")
    font = ImageFont.load_default(10)
    for number, name in enumerate(names):
        record = source[2 * number + (0 if good else 1)]
        corner = (number % columns * tile, number // columns * (tile + LABEL))
        sheet.paste(_outlined(record["image"], record["mask"], tile), corner)
        text = words(name) if good else f"{words(name)}: {words(record['defect'])}"
        label = Image.new("RGB", (tile, LABEL), "white")  # cuts what is too long
        ImageDraw.Draw(label).text((2, 2), text, "black", font)
        sheet.paste(label, (corner[0], corner[1] + tile))
    return sheet


def _outlined(image: np.ndarray, mask: np.ndarray, tile: int) -> Image.Image:
    around = ndimage.binary_dilation(mask, iterations=3)
    edge = around & np.logical_not(ndimage.binary_dilation(mask))
    return Image.fromarray(np.where(edge[..., None], OUTLINE, image).astype(np.uint8)).resize(
        (tile, tile), Image.Resampling.LANCZOS
    )


def main(output_dir: pathlib.Path = pathlib.Path("docs/images")) -> None:
    """Writes the sheets of both splits as JPEG."""
    output_dir.mkdir(parents=True, exist_ok=True)
    for split in CLASSES:
        for good in (False, True):
            file = output_dir / f"generator_{split}_{'good' if good else 'defects'}.jpg"
            contact_sheet(split, good=good).save(file, quality=82)
            print(file)


if __name__ == "__main__":
    tyro.cli(main)
