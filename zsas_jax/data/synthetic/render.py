"""One synthetic photo from a class, a seed and a defect."""

import zlib
from typing import NamedTuple

import numpy as np

from zsas_jax.data.synthetic import captions, noise
from zsas_jax.data.synthetic.camera import Camera
from zsas_jax.data.synthetic.classes import CLASSES, DEFECTS
from zsas_jax.data.synthetic.markings import mark
from zsas_jax.data.synthetic.scene import Scene, Studio
from zsas_jax.data.synthetic.splits import check_split
from zsas_jax.errors import ConfigError, DatasetError

MIN_SIZE = 32
MIN_PIXELS = 12  # least area of a defect, in pixels of a picture of side `noise.BASE`
MIN_CHANGE = 0.06  # least mean change of a colour inside a defect, in the exposed photo
TEXTURE_SHARE = 0.5  # of the texture's own deviation inside the defect, added to MIN_CHANGE
MAX_SHARE = 0.45  # of the picture
MAX_COVERED = 0.35  # of the objects: nobody can tell a wholly changed object from another kind
SIZES = (0.045, 0.6)  # extent of a defect as a fraction of the side, log-uniform
SEVERITIES = (0.25, 1.0)  # log-uniform
ATTEMPTS = 24


class Sample(NamedTuple):
    """A photo and its truth. `segments`: 0 background, then objects, parts, the defect last."""

    image: np.ndarray  # uint8 [size, size, 3]
    mask: np.ndarray  # bool [size, size], exactly the defect's pixels
    segments: np.ndarray  # int32 [size, size]
    class_name: str
    defect: str  # "good" where there is none
    caption: str


def _key(text: str) -> int:
    """A number that names a string on every machine."""
    return zlib.crc32(text.encode())


def _generator(*words: int) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(words)))


def check_class(class_name: str, split: str) -> None:
    """Raises DatasetError unless the split has this class."""
    check_split(split)
    if class_name not in CLASSES[split]:
        known = ", ".join(CLASSES[split])
        raise DatasetError(
            f"the {split} split has no class {class_name!r}: expected one of {known}"
        )


def _check(class_name: str, seed: int, defect: str | None, size: int, split: str) -> None:
    check_class(class_name, split)
    if size < MIN_SIZE:
        raise ConfigError(f"size is {size}: expected at least {MIN_SIZE} pixels")
    if seed < 0:
        raise ConfigError(f"seed is {seed}: expected a number of at least 0")
    allowed = CLASSES[split][class_name].defects
    if defect not in (None, "good", *allowed):
        raise DatasetError(
            f"class {class_name!r} of the {split} split has no defect {defect!r}: "
            f"expected 'good' or one of {', '.join(allowed)}"
        )


def render(
    class_name: str,
    seed: int,
    *,
    defect: str | None = None,
    size: int = 256,
    split: str = "train",
) -> Sample:
    """Draws one photo; the same arguments give the same pixels everywhere.

    With and without a defect, one seed gives the same scene, light and camera. The same seed at
    another size is the same picture at another resolution.

    Raises:
        ConfigError: a size below 32 pixels, a negative seed or an unknown split.
        DatasetError: a class the split does not have, or a defect the class does not have.
    """
    _check(class_name, seed, defect, size, split)
    spec = CLASSES[split][class_name]
    canvas = max(size, noise.BASE)
    name = _key(f"{split}/{class_name}")
    studio = Studio(_generator(name, seed, 1), split, canvas)
    scene = mark(studio, spec.draw(studio), spec.marked)
    photographer = Studio(_generator(name, seed, 2), split, canvas)
    camera = Camera(photographer, size, spec.grey, spec.border, scene.is_object)
    camera.expose(scene.rgb)
    segments = camera.labels(scene.segments)
    if defect in (None, "good"):
        rgb, mask, kind = scene.rgb, np.zeros((size, size), bool), "good"
    else:
        rgb, mask, kind = *_damage(scene, camera, (name, seed), defect, split), defect
        segments = np.where(mask, segments.max() + 1, segments)
    text = captions.caption(_generator(name, seed, 3, _key(kind)), class_name, kind)
    return Sample(camera.photo(rgb), mask, segments.astype(np.int32), class_name, kind, text)


def _damage(
    scene: Scene, camera: Camera, key: tuple[int, int], defect: str, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """The damaged picture and the defect's pixels in the photo: the first attempt that shows."""
    best, best_score = None, -1.0
    least = MIN_PIXELS * (camera.size / noise.BASE) ** 2
    before = noise.brightness(scene.rgb)
    room = MAX_COVERED * float(scene.solid.sum()) if scene.is_object else np.inf
    for attempt in range(ATTEMPTS):
        rng = _generator(*key, 4, _key(defect), attempt)
        size = SIZES[0] * (SIZES[1] / SIZES[0]) ** rng.random()
        severity = SEVERITIES[0] * (SEVERITIES[1] / SEVERITIES[0]) ** rng.random()
        rgb, cover = DEFECTS[split][defect](scene, rng, size, severity)
        inside = cover > 0.5
        if not inside.any():
            continue
        change = float(np.abs(rgb[inside] - scene.rgb[inside]).mean()) * camera.exposure
        # On a strong texture, only a stronger change is seen.
        needed = MIN_CHANGE + TEXTURE_SHARE * float(before[inside].std()) * camera.exposure
        mask = camera.mask(cover)
        area = int(mask.sum())
        covered = float(inside.sum()) / room
        if least <= area <= MAX_SHARE * mask.size and change >= needed and covered <= 1:
            return rgb, mask
        score = min(area / least, 1.0) * min(change / needed, 1.0)
        score /= max(covered, 1.0)
        if area and score > best_score:
            best, best_score = (rgb, mask), score
    if best is None:
        raise DatasetError(
            f"no visible {defect!r} could be drawn with seed {key[1]}: expected one in "
            f"{ATTEMPTS} attempts"
        )
    return best
