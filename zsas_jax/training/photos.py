"""Training photos of a registered data set: what is trained on, what is held out, their views."""

import collections
import logging
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from zsas_jax.data.images import decode_image, decode_mask
from zsas_jax.data.registry import open_dataset
from zsas_jax.data.sources import AnomalySource, Record
from zsas_jax.errors import ConfigError, DatasetError
from zsas_jax.training.config import PhotoSet

logger = logging.getLogger(__name__)


class Photo(NamedTuple):
    """A photo with its mask."""

    image: UInt8[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]


class Auxiliary(NamedTuple):
    """A data set and its two parts."""

    source: AnomalySource
    training: list[int]
    """Positions in the source."""
    validation: list[int]
    categories: tuple[str, ...]
    """In words; a record's number is its place here."""
    groups: dict[str, dict[str, list[int]]]
    """Category -> defect type -> positions of the training photos."""


def open_auxiliary(config: PhotoSet, seed: int) -> Auxiliary:
    """Opens the data set, and holds out the same share of every defect type of every category.

    A defect type with one photo is trained on.

    Raises:
        ConfigError: the generator's pictures of held-out classes, which are for evaluation.
        DatasetError: what `open_dataset` raises; no masks, no anomalies, or empty masks alone.
    """
    if config.name == "synthetic":
        raise ConfigError(
            "data.name is 'synthetic', whose classes are held out for evaluation: expected a "
            "published data set, or none to train on the generator's training classes"
        )
    source = open_dataset(
        config.name, config.data_dir or None, config.categories or None, split=config.split
    )
    where = f"{config.name} in {config.data_dir}"
    if not source.has_masks:
        raise DatasetError(f"{where} has no masks: expected a data set with masks to train on")
    groups: dict[str, dict[str, list[int]]] = collections.defaultdict(
        lambda: collections.defaultdict(list)
    )
    anomalous = []
    for index in range(len(source)):
        record = source[index]
        groups[record["category"]][record["defect"]].append(index)
        if record["label"] > 0:
            anomalous.append(index)
    if not anomalous:
        raise DatasetError(
            f"{where} has no anomalous photo among {len(source)} of split {config.split!r}: "
            "expected photos with defects and their masks"
        )
    if not any(read_photo(source[index]).mask.any() for index in anomalous):
        raise DatasetError(
            f"{where} has {len(anomalous)} anomalous photos, and all their masks are empty: "
            "expected masks that are above their threshold at defects"
        )
    training, validation = _split(groups, config.held_out, seed)
    for category, kinds in groups.items():
        if sum(map(len, kinds.values())) == 1:
            logger.warning(
                "%s has one photo of category %r: it is trained on, and not validated",
                config.name,
                category,
            )
    chosen = set(training)
    kept = {
        category: {
            defect: rest
            for defect, indices in kinds.items()
            if (rest := [index for index in indices if index in chosen])
        }
        for category, kinds in groups.items()
    }
    return Auxiliary(source, training, validation, tuple(source.categories), kept)


def _split(
    groups: dict[str, dict[str, list[int]]], share: float, seed: int
) -> tuple[list[int], list[int]]:
    training, validation = [], []
    rng = np.random.default_rng(seed)
    for category in sorted(groups):
        for defect in sorted(groups[category]):
            indices = groups[category][defect]
            order = [indices[i] for i in rng.permutation(len(indices))]
            count = min(round(share * len(order)), len(order) - 1)
            if share and len(order) > 1:
                count = max(count, 1)
            validation += order[:count]
            training += order[count:]
    return sorted(training), sorted(validation)


def read_photo(record: Record) -> Photo:
    """The decoded photo and mask of a record, at their own size.

    Raises:
        ImageError: a file that cannot be read. DatasetError: a mask of another size.
    """
    image = decode_image(record["image"], _called(record))
    mask = read_mask(record)
    if mask is None:
        return Photo(image, np.zeros(image.shape[:2], bool))
    if mask.shape != image.shape[:2]:
        raise DatasetError(
            f"the mask of {record['name']} has {mask.shape[1]} x {mask.shape[0]} pixels: expected "
            f"the {image.shape[1]} x {image.shape[0]} of its photo"
        )
    return Photo(image, mask)


def read_mask(record: Record) -> Bool[np.ndarray, "h w"] | None:
    """The decoded mask of a record; None where nothing is anomalous."""
    if record["mask"] is None:
        return None
    return decode_mask(record["mask"], name=f"the mask of {record['name']}")


def _called(record: Record) -> str | None:
    return None if isinstance(record["image"], str) else record["name"]


def stretch(photo: Photo, size: int) -> Photo:
    """Photo (bicubic) and mask (bilinear, cut at one half) at `size` x `size` (APRIL-GAN)."""
    shape = (size, size)
    image, mask = photo
    if image.shape[:2] != shape:
        image = np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BICUBIC))
    return Photo(image, stretch_mask(mask, size))


def stretch_mask(mask: Bool[np.ndarray, "h w"] | None, size: int) -> Bool[np.ndarray, "size size"]:
    """The mask at `size` x `size`: bilinear, cut at one half; None is empty."""
    if mask is None or not mask.any():
        return np.zeros((size, size), bool)
    if mask.shape == (size, size):
        return mask
    levels = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(levels.resize((size, size), Image.Resampling.BILINEAR)) > 127


def mosaic(photos: list[Photo]) -> Photo:
    """Four photos 2 x 2, each at its own size, on a canvas of twice the first's sides.

    A larger one reaches below those pasted after it; what nothing covers is black (APRIL-GAN,
    `dataset.py`).
    """
    height, width = photos[0].mask.shape
    image = np.zeros((2 * height, 2 * width, 3), np.uint8)
    mask = np.zeros((2 * height, 2 * width), bool)
    for place, photo in enumerate(photos):
        row, column = divmod(place, 2)
        window = np.s_[row * height :, column * width :]
        h = min(photo.mask.shape[0], mask[window].shape[0])
        w = min(photo.mask.shape[1], mask[window].shape[1])
        image[window][:h, :w] = photo.image[:h, :w]
        mask[window][:h, :w] = photo.mask[:h, :w]
    return Photo(image, mask)


def random_view(
    auxiliary: Auxiliary,
    record: Record,
    rng: np.random.Generator,
    size: int,
    config: PhotoSet,
) -> Photo:
    """A photo as one epoch sees it, at `size` x `size`: a mosaic, turned, flipped, coloured."""
    if rng.random() < config.mosaic:
        kinds = auxiliary.groups[record["category"]]
        names = sorted(kinds)

        def pick() -> Photo:
            indices = kinds[names[rng.integers(len(names))]]
            return read_photo(auxiliary.source[indices[rng.integers(len(indices))]])

        photo = mosaic([pick() for _ in range(4)])
    else:
        photo = read_photo(record)
    image, mask = stretch(photo, size)
    if rng.random() < config.rotate:
        turns = int(rng.integers(1, 4))
        image, mask = np.rot90(image, turns), np.rot90(mask, turns)
    for axis in (0, 1):
        if rng.random() < config.flip:
            image, mask = np.flip(image, axis), np.flip(mask, axis)
    if config.colour:
        image = _change_colours(image, rng, config.colour)
    return Photo(np.ascontiguousarray(image), np.ascontiguousarray(mask))


def _change_colours(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    contrast, brightness = rng.uniform(1 - strength, 1 + strength, 2)
    tint = rng.uniform(1 - strength / 4, 1 + strength / 4, 3)
    values = image.astype(np.float32)
    mean = values.mean((0, 1))
    values = (values - mean) * contrast + mean * brightness * tint
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


def sample_record(auxiliary: Auxiliary, index: int) -> tuple[Record, np.int32]:
    """A record and the number of its category."""
    record: Any = auxiliary.source[index]
    return record, np.int32(auxiliary.categories.index(record["category"]))
