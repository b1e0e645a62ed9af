"""Random-access data sources over the generator: one for evaluation, one for training."""

import contextlib
import zlib
from collections.abc import Sequence

import numpy as np

from zsas_jax.data.phrases import words
from zsas_jax.data.synthetic.classes import CLASSES
from zsas_jax.data.synthetic.noise import Number
from zsas_jax.data.synthetic.render import MIN_SIZE, Sample, check_class, render
from zsas_jax.data.synthetic.splits import check_split
from zsas_jax.errors import ConfigError, DatasetError

_SEEDS = 2**31
_ATTEMPTS = 24  # seeds tried until the defect shows; half of the made-up parts have no parts


def _check_numbers(seed: int, count: int, size: int, fraction: Number, what: str) -> None:
    if seed < 0:
        raise ConfigError(f"seed is {seed}: expected a number of at least 0")
    if count < 1:
        raise ConfigError(f"{what} is {count}: expected at least 1")
    if size < MIN_SIZE:
        raise ConfigError(f"size is {size}: expected at least {MIN_SIZE} pixels")
    if not 0 <= fraction <= 1:
        raise ConfigError(f"anomaly_fraction is {fraction}: expected a number from 0 to 1")


class SyntheticSource:
    """Evaluation pictures: `per_class` of every class, the anomalous ones spread over its defects.

    Items are the records every data source gives (`image`, `mask`, `name`, `category`, `defect`,
    `label`); item i depends on the arguments and i alone.

    Raises:
        ConfigError: a size below 32, a fraction outside [0, 1], a count below 1, an unknown split.
        DatasetError: a class the split does not have.
    """

    has_masks = True

    def __init__(
        self,
        split: str = "eval",
        seed: int = 0,
        per_class: int = 40,
        size: int = 256,
        anomaly_fraction: Number = 0.5,
        classes: Sequence[str] | None = None,
    ):
        check_split(split)
        _check_numbers(seed, per_class, size, anomaly_fraction, "per_class")
        names = tuple(CLASSES[split]) if classes is None else tuple(classes)
        self.classes = tuple(dict.fromkeys(name.replace(" ", "_") for name in names))
        for name in self.classes:
            check_class(name, split)
        self.split, self.seed, self.per_class, self.size = split, seed, per_class, size
        self.anomalous = round(per_class * anomaly_fraction)

    @property
    def categories(self) -> tuple[str, ...]:
        """The classes in words, in order."""
        return tuple(words(name) for name in self.classes)

    def __len__(self) -> int:
        return len(self.classes) * self.per_class

    def describe(self, index: int) -> tuple[str, str, int]:
        """Class, defect and picture seed of an item, without drawing it."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is outside 0..{len(self) - 1}")
        class_name, number = self.classes[index // self.per_class], index % self.per_class
        kinds = CLASSES[self.split][class_name].defects
        good = self.per_class - self.anomalous
        key = zlib.crc32(class_name.encode())
        # Spread evenly over the defects, starting with another one for each class and seed.
        defect = "good" if number < good else kinds[(number - good + key + self.seed) % len(kinds)]
        entropy = (self.seed, key, number)
        return class_name, defect, int(np.random.SeedSequence(entropy).generate_state(1)[0])

    def sample(self, index: int) -> Sample:
        """The picture of an item with its truth, segments included."""
        class_name, defect, seed = self.describe(index)
        return _render_visible(class_name, seed, defect, self.size, self.split)

    def __getitem__(self, index: int) -> dict:
        sample = self.sample(index)
        return {
            "image": sample.image,
            "mask": sample.mask,
            "name": f"{sample.class_name}/{sample.defect}/{index % self.per_class:04d}.png",
            "category": words(sample.class_name),
            "defect": sample.defect,
            "label": int(sample.defect != "good"),
        }


class TrainingSource:
    """Training pictures: classes at random by their weight, half of the pictures defective.

    Item i is a dict of `image`, `mask`, `segments`, `caption`, `class_name`, `defect`, `label`.
    Raises ConfigError as SyntheticSource does.
    """

    def __init__(self, seed: int = 0, length: int = 100_000, size: int = 256):
        _check_numbers(seed, length, size, 0.5, "length")
        self.seed, self.length, self.size = seed, length, size

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < self.length:
            raise IndexError(f"index {index} is outside 0..{self.length - 1}")
        rng = np.random.default_rng((self.seed, 0x7EA1, index))
        names = [name for name, spec in CLASSES["train"].items() for _ in range(spec.weight)]
        class_name = names[int(rng.integers(len(names)))]
        kinds = CLASSES["train"][class_name].defects
        defect = kinds[int(rng.integers(len(kinds)))] if rng.random() < 0.5 else "good"
        sample = _render_visible(class_name, int(rng.integers(_SEEDS)), defect, self.size, "train")
        return {
            "image": sample.image,
            "mask": sample.mask,
            "segments": sample.segments,
            "caption": sample.caption,
            "class_name": class_name,
            "defect": defect,
            "label": int(defect != "good"),
        }


def _render_visible(class_name: str, seed: int, defect: str, size: int, split: str) -> Sample:
    """Draws with the given seed, or with the next ones where a scene hides every such defect."""
    for attempt in range(_ATTEMPTS - 1):
        with contextlib.suppress(DatasetError):
            return render(
                class_name, (seed + attempt) % _SEEDS, defect=defect, size=size, split=split
            )
    last = (seed + _ATTEMPTS - 1) % _SEEDS
    return render(class_name, last, defect=defect, size=size, split=split)
