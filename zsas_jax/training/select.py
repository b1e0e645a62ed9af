"""A checkpoint's own settings and verdict thresholds, chosen on training classes alone."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from tqdm import tqdm

from zsas_jax.checkpoints import Bundle, Verdict
from zsas_jax.config import Between, check_fields, get_path, replace_path, suggestion
from zsas_jax.data.synthetic import SyntheticSource
from zsas_jax.errors import ConfigError
from zsas_jax.methods import check_method, find_method, settings, with_settings
from zsas_jax.metrics import METRICS, evaluate_maps
from zsas_jax.predict import Prediction, predict


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Values that are tried for one setting, and what decides."""

    path: str
    """Of the method's config: "refiner.regions"."""
    values: tuple[Any, ...]
    metrics: tuple[str, ...] = ("pixel_ap", "pixel_f1_max")
    """Their mean over classes decides."""

    def __post_init__(self):
        for name in self.metrics:
            if name not in METRICS:
                raise ConfigError(f"metrics of {self.path} has {name!r}{suggestion(name, METRICS)}")


@dataclasses.dataclass(frozen=True)
class Select:
    """Which settings of a method are chosen, and on how many pictures.

    On new pictures of the generator's training classes and training defects.
    """

    method: str
    candidates: tuple[Candidates, ...] = ()
    """Chosen one after the other; a tie keeps what was there."""
    per_class: Annotated[int, Between(2)] = 3
    """Pictures of each class for `candidates`."""
    calibration_per_class: Annotated[int, Between(0)] = 12
    """Pictures of each class for the verdict thresholds; 0 keeps those that are there."""
    seed: int = 1
    """Of the pictures for the thresholds; those for `candidates` have the next one."""

    def __post_init__(self):
        check_fields(self, "select")
        if self.calibration_per_class == 1:  # Half of the pictures are anomalous.
            raise ConfigError("select.calibration_per_class is 1: expected 0 or at least 2")
        default = find_method(self.method).config()
        for one in self.candidates:  # Here, not after hours of training.
            for value in one.values:
                replace_path(default, one.path, value)


def select(bundle: Bundle, config: Select) -> Bundle:
    """The bundle with the settings and thresholds that `config` asks for.

    Raises:
        ConfigError: a missing network, or settings that do not fit it.
    """
    name = find_method(config.method).name
    chosen = settings(bundle.config, name)
    check_method(bundle.config, name, chosen)
    if config.candidates:
        chosen = _tune(bundle, name, chosen, config)
        bundle = bundle._replace(config=with_settings(bundle.config, name, chosen))
    if config.calibration_per_class:
        records = _records(config.calibration_per_class, config.seed)
        found = calibrated(_predict(bundle, name, chosen, records), records)
        verdicts = {**bundle.config.verdicts, name: found}
        bundle = bundle._replace(config=dataclasses.replace(bundle.config, verdicts=verdicts))
    return bundle


def calibrated(predictions: Sequence[Prediction], records: Sequence[Any]) -> Verdict:
    """The mask threshold by F1-max, the image threshold by balanced accuracy.

    Half of the pictures are anomalous, of a line's parts few: F1 of images would depend on that.
    """
    scores = [prediction.score for prediction in predictions]
    threshold = float(_evaluate(predictions, records)["pixel_f1_max_threshold"])
    return Verdict(threshold, balanced_threshold(scores, [record["label"] for record in records]))


def balanced_threshold(scores: Sequence[float], labels: Sequence[int]) -> float:
    """The score from which on "anomalous" is right most often, good and anomalous weighed alike."""
    values, anomalous = np.asarray(scores), np.asarray(labels) > 0
    candidates = np.unique(values)
    found = values >= candidates[:, None]
    accuracy = found[:, anomalous].mean(1) - found[:, ~anomalous].mean(1)
    return float(candidates[accuracy.argmax()])


def _tune(bundle: Bundle, name: str, chosen: Any, config: Select) -> Any:
    records = _records(config.per_class, config.seed + 1)
    progress = tqdm(total=sum(len(one.values) for one in config.candidates), desc="settings")
    for one in config.candidates:
        scores = {}
        for value in dict.fromkeys((get_path(chosen, one.path), *one.values)):
            trial = replace_path(chosen, one.path, value)
            predictions = _predict(bundle, name, trial, records)
            scores[value] = _mean_over_classes(predictions, records, one.metrics)
            progress.update(value in one.values)
        best = max(scores, key=lambda value: scores[value])
        chosen = replace_path(chosen, one.path, best)
        progress.set_postfix_str(f"{one.path} {best}")
    progress.close()
    return chosen


def _records(per_class: int, seed: int) -> list[Any]:
    source = SyntheticSource(split="train", seed=seed, per_class=per_class)
    return [source[index] for index in range(len(source))]


def _predict(bundle: Bundle, name: str, chosen: Any, records: Sequence[Any]) -> list[Prediction]:
    images = [record["image"] for record in records]
    categories = [record["category"] for record in records]
    return predict(bundle, images, categories, name, config=chosen)


def _evaluate(predictions: Sequence[Prediction], records: Sequence[Any]) -> dict[str, Any]:
    return evaluate_maps(
        [prediction.anomaly_map for prediction in predictions],
        [record["mask"] for record in records],
        [prediction.score for prediction in predictions],
        [record["label"] for record in records],
    )


def _mean_over_classes(
    predictions: Sequence[Prediction], records: Sequence[Any], metrics: tuple[str, ...]
) -> float:
    values = []
    for category in dict.fromkeys(record["category"] for record in records):
        chosen = [i for i, record in enumerate(records) if record["category"] == category]
        result = _evaluate([predictions[i] for i in chosen], [records[i] for i in chosen])
        values += [result[metric] for metric in metrics]
    return float(np.mean(values))
