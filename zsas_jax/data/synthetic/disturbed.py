"""Pictures as another camera or another encoder would give them: how robust is a method?"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from zsas_jax.data.synthetic.camera import mostly_covered
from zsas_jax.data.synthetic.source import SyntheticSource

NOISE = 10  # standard deviation of "noise", of 255
JPEG_QUALITY = 50


def _scaled(factor: float) -> Callable[[Image.Image, int], Image.Image]:
    def scale(picture: Image.Image, index: int) -> Image.Image:
        size = [round(side * factor) for side in picture.size]
        return picture.resize((size[0], size[1]), Image.Resampling.BICUBIC)

    return scale


def _grey(picture: Image.Image, index: int) -> Image.Image:
    return picture.convert("L").convert("RGB")


def _jpeg(picture: Image.Image, index: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Image.open(buffer)


def _noise(picture: Image.Image, index: int) -> Image.Image:
    values = np.asarray(picture, np.float32)
    noise = np.random.default_rng(index).standard_normal(values.shape, np.float32)
    return Image.fromarray(np.clip(values + NOISE * noise + 0.5, 0, 255).astype(np.uint8))


DISTURBANCES = {
    "half size": _scaled(0.5),
    "double size": _scaled(2.0),
    "grey": _grey,
    "JPEG": _jpeg,
    "noise": _noise,
}


class DisturbedSource:
    """A synthetic source with every picture changed in one of the `DISTURBANCES`, its mask too."""

    has_masks = True

    def __init__(self, source: SyntheticSource, how: str):
        self._source, self._change = source, DISTURBANCES[how]

    @property
    def categories(self) -> tuple[str, ...]:
        """Those of the source."""
        return self._source.categories

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        record = self._source[index]
        picture = self._change(Image.fromarray(record["image"]), index)
        mask = record["mask"]
        if picture.size != mask.shape[::-1]:
            covers = Image.fromarray(mask.astype(np.uint8) * 255)
            values = np.asarray(covers.resize(picture.size, Image.Resampling.BOX))
            mask = mostly_covered(values)
        return record | {"image": np.asarray(picture.convert("RGB")), "mask": mask}
