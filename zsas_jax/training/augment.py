"""Random crops, flips and colour changes of training pictures, on the host."""

from typing import Any

import numpy as np
from PIL import Image

from zsas_jax.training.config import DataConfig


def augment(
    sample: dict[str, Any], rng: np.random.Generator, size: int, config: DataConfig
) -> dict[str, Any]:
    """A random view of a pool sample at `size` x `size`.

    Returns:
        image uint8 [size, size, 3], mask float32 [size, size] (anomalous fraction of each pixel),
        segments uint8 [size, size], class_name, defect ("good" where the crop missed the defect).
    """
    image, mask, segments = sample["image"], sample["mask"], sample["segments"]
    side = image.shape[0]
    if rng.random() >= config.full_picture:
        crop = max(int(side * rng.uniform(config.crop_min, 1.0)), 8)
        top, left = _place(mask, crop, rng, config.defect_crop)
        window = np.s_[top : top + crop, left : left + crop]
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
    return {
        "image": _change_colours(image, rng, config.grey),
        "mask": mask,
        "segments": segments,
        "class_name": sample["class_name"],
        # A handful of pixels at the crop's border is no visible defect.
        "defect": sample["defect"] if mask.sum() >= 12 * (size / 256) ** 2 else "good",
    }


def _place(
    mask: np.ndarray, crop: int, rng: np.random.Generator, over_defect: float
) -> tuple[int, int]:
    """Top left corner of a crop: anywhere, or such that it contains a random defect pixel."""
    room = mask.shape[0] - crop
    if mask.any() and rng.random() < over_defect:
        row, column = divmod(int(rng.choice(np.flatnonzero(mask))), mask.shape[1])
        low = np.maximum(np.array([row, column]) - crop + 1, 0)
        high = np.minimum(np.array([row, column]), room)
    else:
        low, high = np.zeros(2, int), np.full(2, room)
    top, left = rng.integers(low, high + 1)
    return int(top), int(left)


def _change_colours(image: np.ndarray, rng: np.random.Generator, grey: float) -> np.ndarray:
    values = image.astype(np.float32)
    if rng.random() < grey:
        values = np.broadcast_to(values.mean(-1, keepdims=True), values.shape)
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.95, 1.05, 3)
    mean = values.mean((0, 1))
    values = (values - mean) * rng.uniform(0.75, 1.25) + mean * gain
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
