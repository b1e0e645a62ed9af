"""Verdict thresholds of a trained checkpoint, chosen on training classes."""

import dataclasses

from zsas_jax.data.synthetic import SyntheticSource
from zsas_jax.metrics import evaluate_maps
from zsas_jax.predict import predict
from zsas_jax.weights.checkpoint import Bundle


def calibrate(bundle: Bundle, *, per_class: int = 6, seed: int = 1) -> Bundle:
    """Sets `mask_threshold` and `image_threshold` to those of F1-max on training classes.

    New pictures of the training classes and training defects, by the checkpoint's own method.
    """
    source = SyntheticSource(split="train", seed=seed, per_class=per_class)
    records = [source[index] for index in range(len(source))]
    predictions = predict(
        bundle,
        [record["image"] for record in records],
        categories=[record["category"] for record in records],
    )
    result = evaluate_maps(
        [prediction.anomaly_map for prediction in predictions],
        [record["mask"] for record in records],
        [prediction.score for prediction in predictions],
        [record["label"] for record in records],
    )
    pipeline = dataclasses.replace(
        bundle.config.pipeline,
        mask_threshold=float(result["pixel_f1_max_threshold"]),
        image_threshold=float(result["image_f1_max_threshold"]),
    )
    return bundle._replace(config=dataclasses.replace(bundle.config, pipeline=pipeline))
