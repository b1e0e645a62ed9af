"""A trained checkpoint's own pipeline settings, chosen on training classes alone."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from zsas_jax.checkpoints.checkpoint import Bundle
from zsas_jax.data.synthetic import SyntheticSource
from zsas_jax.metrics import evaluate_maps
from zsas_jax.predict import Prediction, predict

# Settings that depend on how sure of itself a network is, with what is tried for each, in order;
# and the metrics whose mean over classes decides. Not `rough` and `similarity_weight`: training
# classes favour UMCI, which is fitted to them most closely.
PIXELS = ("pixel_ap", "pixel_f1_max")
CANDIDATES: tuple[tuple[str, tuple[Any, ...], tuple[str, ...]], ...] = (
    ("umci_stages", (0, 1), PIXELS),
    ("rough_upsampling", ("bilinear", "guided"), PIXELS),
    ("rough_threshold", (0.3, 0.47, 0.6, 0.8), PIXELS),
    ("cascade_mask_confidence", ("iou", "iou_times_rough"), PIXELS),
    ("cascade_rough_weight", (0.7, 0.8, 0.9), PIXELS),
    ("regions", (1, 2, 5), PIXELS),
    ("cps_stages", (1, 2, 3), PIXELS),
    ("score_top_fraction", (0.001, 0.005, 0.02), ("image_auroc", "image_ap")),
    ("score_map_weight", (0.5, 0.8, 1.0), ("image_auroc", "image_ap")),
)


def tune(bundle: Bundle, *, per_class: int, seed: int = 2) -> Bundle:
    """Chooses the settings of `CANDIDATES` one after the other, for the checkpoint's own method.

    On new pictures of the training classes and training defects; a tie keeps what was there.
    """
    records = _records(per_class, seed)
    trials = [(name, value) for name, values, _ in CANDIDATES for value in values]
    progress = tqdm(total=len(trials), desc="tuning")
    for name, values, metrics in CANDIDATES:
        start = getattr(bundle.config.pipeline, name)
        scores = {}
        for value in dict.fromkeys((start, *values)):
            trial = _with_settings(bundle, **{name: value})
            scores[value] = _mean_over_classes(_predict(trial, records), records, metrics)
            progress.update(value in values)
        bundle = _with_settings(bundle, **{name: max(scores, key=lambda value: scores[value])})
        progress.set_postfix_str(f"{name} {getattr(bundle.config.pipeline, name)}")
    progress.close()
    return bundle


def calibrate(bundle: Bundle, *, per_class: int, seed: int = 1) -> Bundle:
    """Chooses `mask_threshold` by F1-max and `image_threshold` by balanced accuracy.

    On new pictures of the training classes and training defects, by the checkpoint's own method.
    Half of them are anomalous, of a line's parts few: F1 would depend on that.
    """
    records = _records(per_class, seed)
    predictions = _predict(bundle, records)
    return _with_settings(
        bundle,
        mask_threshold=float(_evaluate(predictions, records)["pixel_f1_max_threshold"]),
        image_threshold=balanced_threshold(
            [prediction.score for prediction in predictions],
            [record["label"] for record in records],
        ),
    )


def balanced_threshold(scores: Sequence[float], labels: Sequence[int]) -> float:
    """The score from which on "anomalous" is right most often, good and anomalous weighed alike."""
    values, anomalous = np.asarray(scores), np.asarray(labels) > 0
    candidates = np.unique(values)
    found = values >= candidates[:, None]
    accuracy = found[:, anomalous].mean(1) - found[:, ~anomalous].mean(1)
    return float(candidates[accuracy.argmax()])


def _records(per_class: int, seed: int) -> list[Any]:
    source = SyntheticSource(split="train", seed=seed, per_class=per_class)
    return [source[index] for index in range(len(source))]


def _predict(bundle: Bundle, records: list[Any]) -> list[Prediction]:
    images = [record["image"] for record in records]
    return predict(bundle, images, categories=[record["category"] for record in records])


def _evaluate(predictions: list[Prediction], records: list[Any]) -> dict[str, Any]:
    return evaluate_maps(
        [prediction.anomaly_map for prediction in predictions],
        [record["mask"] for record in records],
        [prediction.score for prediction in predictions],
        [record["label"] for record in records],
    )


def _mean_over_classes(
    predictions: list[Prediction], records: list[Any], metrics: tuple[str, ...]
) -> float:
    values = []
    for category in dict.fromkeys(record["category"] for record in records):
        chosen = [i for i, record in enumerate(records) if record["category"] == category]
        result = _evaluate([predictions[i] for i in chosen], [records[i] for i in chosen])
        values += [result[metric] for metric in metrics]
    return float(np.mean(values))


def _with_settings(bundle: Bundle, **settings: Any) -> Bundle:
    pipeline = dataclasses.replace(bundle.config.pipeline, **settings)
    return bundle._replace(config=dataclasses.replace(bundle.config, pipeline=pipeline))
