"""Random crops, flips and colour changes of training pictures, on the host."""

import math
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from zsas_jax.training.config import Generated

# The defect type of pasted patches; the generator draws none of this name.
FOREIGN_PATCH = "contrasting_patch"


def augment(
    sample: dict[str, Any],
    rng: np.random.Generator,
    size: int,
    config: Generated,
    other: np.ndarray | None = None,
    ground: np.ndarray | None = None,
) -> dict[str, Any]:
    """A random view of a pool sample at `size` x `size`.

    `other` is a picture uint8 [S, S, 3] of which patches may be pasted in; `ground` is one, of a
    good surface, on which the sample's objects are laid.

    Returns:
        image uint8 [size, size, 3], mask float32 [size, size] (anomalous fraction of each pixel),
        segments uint8 [size, size], class_name, defect ("good" where the crop missed the defect).
    """
    image, mask, segments = sample["image"], sample["mask"], sample["segments"]
    side = image.shape[0]
    if ground is not None:
        image = _on_ground(sample, ground, rng)
    if rng.random() >= config.full_picture:
        crop = side * rng.uniform(config.crop_min, 1.0)
        shape = crop * config.stretch ** (rng.uniform(-0.5, 0.5) * np.array([1, -1]))
        height, width = (int(length) for length in np.clip(shape, 8, side))
        top, left = _place(mask, (height, width), rng, config.defect_crop)
        window = np.s_[top : top + height, left : left + width]
        image, mask, segments = image[window], mask[window], segments[window]
    turns, flip = int(rng.integers(4)), rng.random() < 0.5

    def turn(array: np.ndarray) -> np.ndarray:
        array = np.rot90(array, turns)
        return np.ascontiguousarray(array[:, ::-1] if flip else array)

    shape = (size, size)
    image, mask, segments = turn(image), turn(mask), turn(segments)
    if image.shape[:2] != shape:
        image = np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BICUBIC))
        picture = Image.fromarray(mask.astype(np.uint8) * 255)
        mask = np.asarray(picture.resize(shape, Image.Resampling.BILINEAR)) / np.float32(255)
        picture = Image.fromarray(segments)
        segments = np.asarray(picture.resize(shape, Image.Resampling.NEAREST))
    mask = mask.astype(np.float32)
    # A handful of pixels at the crop's border is no visible defect.
    smallest = 12 * (size / 256) ** 2
    defect = sample["defect"] if mask.sum() >= smallest else "good"
    if other is not None and rng.random() < config.foreign_patch:
        pasted, patch = _paste(image, other, segments > 0, rng)
        if patch.sum() >= smallest:
            image, mask = pasted, np.maximum(mask, patch)
            segments = np.where(patch > 0.5, np.uint8(255), segments)
            defect = FOREIGN_PATCH
    values = _change_colours(image.astype(np.float32), rng, config.grey)
    if rng.random() < config.uneven_light:
        values *= _light(rng, size)
    # A share of 0 draws nothing: configs of before have the views that they had.
    if config.glare and rng.random() < config.glare:
        values *= _glare(rng, size)
    if config.noise and rng.random() < config.noise:
        values += _noise(rng, size)
    image = _levels(values)
    return {
        "image": image,
        "mask": mask,
        "segments": segments,
        "class_name": sample["class_name"],
        "defect": defect,
    }


def is_good_surface(sample: dict[str, Any]) -> bool:
    """Whether a pool sample can be a ground: nothing on it but small marks."""
    return sample["defect"] == "good" and float((sample["segments"] > 0).mean()) < 0.1


def _on_ground(sample: dict[str, Any], ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The sample's objects and defects over another ground, often with a shadow.

    The generator's tables are calm: a network that has seen no others takes objects on a rough or
    patterned ground for foreign matter. A sample without objects stays as it is.
    """
    image, things = sample["image"], sample["segments"] > 0
    if not 0.03 <= float((things & ~sample["mask"]).mean()) <= 0.75:
        return image
    side = image.shape[0]
    table = np.rot90(ground, int(rng.integers(4))) * np.float32(rng.uniform(0.5, 1.2))
    if rng.random() < 0.7:
        turn, length = rng.uniform(0, 2 * np.pi), side / 4 * rng.uniform(0.005, 0.05)
        shift = (length * math.sin(turn), length * math.cos(turn))
        low = ndimage.shift(things[::4, ::4].astype(np.float32), shift, order=1)
        low = ndimage.gaussian_filter(low, side / 4 * rng.uniform(0.01, 0.04))
        shadow = Image.fromarray(low).resize((side, side), Image.Resampling.BILINEAR)
        table *= 1 - np.float32(rng.uniform(0.2, 0.75)) * np.asarray(shadow)[..., None]
    cover = ndimage.uniform_filter(things.astype(np.float32), 3)[..., None]
    return _levels(table + cover * (image - table))


def _paste(
    image: np.ndarray, other: np.ndarray, things: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A blob of another picture, of a colour, or of changed brightness; and its mask.

    Easy anomalies in great number: what does not belong to its surroundings, whatever it is. Where
    there are `things` (bool [S, S]), the blob lies on them: beside them, it would look like one
    more object on its ground, and teach that objects are anomalies.
    """
    size = image.shape[0]
    along_side = (np.arange(size, dtype=np.float32) + 0.5) / size
    cy, cx = rng.uniform(0.05, 0.95, 2)
    limited = things.any()
    if limited:
        row, column = divmod(int(rng.choice(np.flatnonzero(things))), size)
        cy, cx = (row + 0.5) / size, (column + 0.5) / size
    dy, dx = along_side[:, None] - np.float32(cy), along_side - np.float32(cx)
    angle = np.arctan2(dy, dx)
    turn, stretch = rng.uniform(0, np.pi), float(np.exp(rng.uniform(0, 1.5)))
    cosine, sine = math.cos(turn), math.sin(turn)
    along = dx * cosine + dy * sine
    across = (dy * cosine - dx * sine) * stretch
    radius = np.exp(rng.uniform(np.log(0.03), np.log(0.2))) * stretch**0.5
    waves = sum(
        rng.uniform(0, 0.3) * np.sin(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
    )
    inside = np.hypot(along, across) < radius * (1 + waves)
    if limited:
        inside &= things
    kind = rng.integers(3)
    if kind == 0:
        if other.shape[0] < size:
            enlarged = Image.fromarray(other).resize((size, size), Image.Resampling.BICUBIC)
            other = np.asarray(enlarged)
        top, left = (
            rng.integers(0, other.shape[0] - size + 1, 2) if other.shape[0] > size else (0, 0)
        )
        content = other[top : top + size, left : left + size].astype(np.float32)
    elif kind == 1:
        content = np.broadcast_to(rng.uniform(0, 255, 3).astype(np.float32), image.shape)
    else:
        content = image * np.float32(math.exp(rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)))
    opacity = np.float32(rng.uniform(0.5, 1.0))
    mixed = image.copy()
    before = image[inside].astype(np.float32)
    mixed[inside] = _levels(before + opacity * (np.clip(content[inside], 0, 255) - before))
    return mixed, inside.astype(np.float32)


def _light(rng: np.random.Generator, size: int) -> np.ndarray:
    """A smooth gain [size, size, 1]: ramps along one or two directions, each straight, or confined
    to one side or to both; sometimes a wide stripe.
    """
    y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size - 0.5
    gain = np.ones((size, size), np.float32)
    for _ in range(1 + int(rng.integers(2))):
        turn = rng.uniform(0, 2 * np.pi)
        along = np.cos(turn) * x + np.sin(turn) * y
        kind = rng.integers(4)
        if kind == 0:  # Across the picture.
            shape = along + 0.5
        elif kind == 3:  # A wide stripe.
            shape = np.exp(-(((along - rng.uniform(-0.5, 0.5)) / rng.uniform(0.15, 0.4)) ** 2))
        else:  # At one side or at both.
            reach = np.abs(along) if kind == 2 else along
            shape = np.clip((reach - rng.uniform(0.1, 0.4)) / rng.uniform(0.08, 0.4), 0, 1)
            shape = shape * shape * (3 - 2 * shape)
        change = rng.uniform(0.1, 0.75) * (-1 if rng.random() < 0.7 else 0.6)
        gain *= 1 + np.float32(change) * shape
    return gain[..., None]


def _glare(rng: np.random.Generator, size: int) -> np.ndarray:
    """A smooth gain [size, size, 1]: spots at corners or borders that are brighter or darker."""
    y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size
    gain = np.ones((size, size), np.float32)
    for _ in range(1 + int(rng.integers(2))):
        # On one side, or in one of its corners.
        side = np.array([rng.integers(2), rng.choice([0.0, 1.0, rng.random()])])
        cy, cx = rng.permutation(side) + rng.normal(0, 0.07, 2)
        turn, stretch = rng.uniform(0, np.pi), math.exp(rng.uniform(0, 0.8))
        along = np.cos(turn) * (x - cx) + np.sin(turn) * (y - cy)
        across = (np.cos(turn) * (y - cy) - np.sin(turn) * (x - cx)) * stretch
        distance = np.hypot(along, across) / math.exp(rng.uniform(np.log(0.15), np.log(0.8)))
        change = math.exp(rng.choice([-1, 1]) * rng.uniform(0.1, 0.9)) - 1
        gain *= 1 + np.float32(change) * np.exp(-2 * distance**2)
    return gain[..., None]


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """A camera's noise [size, size, 3 or 1], each grain one to two pixels wide."""
    side = round(size / rng.uniform(1, 2))
    strength = np.float32(rng.uniform(0, 20))
    channels = rng.standard_normal((rng.choice([1, 3]), side, side), np.float32) * strength
    shape = (size, size)
    grains = [Image.fromarray(one).resize(shape, Image.Resampling.BICUBIC) for one in channels]
    return np.stack([np.asarray(one) for one in grains], axis=-1)


def _place(
    mask: np.ndarray, crop: tuple[int, int], rng: np.random.Generator, over_defect: float
) -> tuple[int, int]:
    """Top left corner of a crop: anywhere, or such that it contains a random defect pixel."""
    size = np.array(crop)
    room = np.array(mask.shape) - size
    if mask.any() and rng.random() < over_defect:
        row, column = divmod(int(rng.choice(np.flatnonzero(mask))), mask.shape[1])
        low = np.maximum(np.array([row, column]) - size + 1, 0)
        high = np.minimum(np.array([row, column]), room)
    else:
        low, high = np.zeros(2, int), room
    top, left = rng.integers(low, high + 1)
    return int(top), int(left)


def _change_colours(values: np.ndarray, rng: np.random.Generator, grey: float) -> np.ndarray:
    if rng.random() < grey:
        grey_values = (values[..., :1] + values[..., 1:2] + values[..., 2:]) / np.float32(3)
        values = np.broadcast_to(grey_values, values.shape)
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.95, 1.05, 3)
    contrast = rng.uniform(0.75, 1.25)
    # (values - mean) * contrast + mean * gain, in two passes.
    # One axis after the other: NumPy takes thirty times as long for both at once.
    shift = values.mean(0).mean(0) * (gain - contrast)
    return values * np.float32(contrast) + shift.astype(np.float32)


def _levels(values: np.ndarray) -> np.ndarray:
    """Rounded half up to 0..255."""
    return np.clip(values + np.float32(0.5), 0, 255).astype(np.uint8)
