"""Photos in, one prediction per photo out: `segment` with files, batches and crops around it."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import Bool, Float32

from zsas_jax.config import PipelineConfig
from zsas_jax.data.images import ImageSource
from zsas_jax.data.loader import Batch, iterate_batches
from zsas_jax.data.sources import Record
from zsas_jax.errors import ConfigError, ImageError
from zsas_jax.ops.layers import cast_parameters
from zsas_jax.pipeline import segment
from zsas_jax.prompting.text import encode_text


class Prediction(NamedTuple):
    """What is known of one photo, at its own upright size."""

    anomaly_map: Float32[np.ndarray, "h w"]
    """0 to 1."""
    score: float
    """The image score."""
    mask: Bool[np.ndarray, "h w"]
    """The map at or above the mask threshold."""
    is_anomalous: bool
    """The score at or above the config's image threshold."""


def predict(
    bundle: Any,
    images: Sequence[ImageSource],
    categories: str | Sequence[str] = "object",
    method: str | None = None,
    seed: int = 0,
    batch_size: int = 8,
    threshold: float | None = None,
    image_threshold: float | None = None,
) -> list[Prediction]:
    """Segments the anomalies of photos of any kind and size.

    Args:
        bundle: networks, tokenizer and settings, as `zsas_jax.load` returns them.
        images: paths, bytes of image files, PIL images or arrays (see `data.images`).
        categories: what the photos show, in words: one name for all, or one per photo.
        method: "cascade", "clipsam", "umci" or "clip"; default the checkpoint's, for which its
            thresholds were chosen: another one needs its own.
        seed: seed of random points; each photo's own seed also depends on its content.
        batch_size: photos in one program; less where photos are large.
        threshold: mask threshold in 0..1; default the checkpoint's.
        image_threshold: score from which a photo is anomalous; default the checkpoint's
            (`zsas_jax.thresholds` finds one calibrated on good parts).

    Raises:
        ImageError: a photo that cannot be read. ConfigError: an unknown method, or as many
            categories as neither one nor the number of photos.
    """
    if isinstance(images, str | os.PathLike | bytes | PIL.Image.Image | np.ndarray):
        raise ImageError("images is a single photo: expected a list of photos")
    config = bundle.config.pipeline
    if method is not None:
        config = dataclasses.replace(config, method=method)
    if threshold is not None:
        config = dataclasses.replace(config, mask_threshold=threshold)
    if image_threshold is not None:
        config = dataclasses.replace(config, image_threshold=image_threshold)
    names = _category_of_each(categories, len(images))
    if not names:
        return []
    distinct = list(dict.fromkeys(names))
    text = encode_text(bundle.model.clip, bundle.tokenizer, distinct)
    labels = np.array([distinct.index(name) for name in names])

    model = cast_parameters(bundle.model, config.compute_dtype)
    # Thresholds are applied here: another one is no other program.
    program = dataclasses.replace(
        config,
        mask_threshold=PipelineConfig.mask_threshold,
        image_threshold=PipelineConfig.image_threshold,
    )
    predictions: dict[int, Prediction] = {}
    records = [_record(image, index, names[index]) for index, image in enumerate(images)]
    for batch in iterate_batches(records, batch_size=batch_size, seed=seed):
        if batch.failures:
            raise ImageError(batch.failures[0].message)
        output = segment(
            model,
            batch.canvas,
            batch.sizes,
            text[labels[batch.indices]],
            batch.keys,
            config=program,
        )
        predictions.update(_crop(batch, output, config))
    return [predictions[index] for index in range(len(images))]


def _category_of_each(categories: str | Sequence[str], count: int) -> list[str]:
    names = [categories] if isinstance(categories, str) else list(categories)
    if len(names) == 1:
        return names * count
    if len(names) != count:
        raise ConfigError(
            f"categories has {len(names)} names for {count} photos: expected one for all, or one "
            "for each"
        )
    return names


def _record(image: ImageSource, index: int, category: str) -> Record:
    return {
        "image": image,
        "mask": None,
        "name": f"image {index}",
        "category": category,
        "defect": "unlabeled",
        "label": -1,
    }


def _crop(batch: Batch, output: Any, config: Any) -> dict[int, Prediction]:
    maps, scores = np.asarray(output.anomaly_map), np.asarray(output.image_score)
    predictions = {}
    for row in np.flatnonzero(batch.valid):
        height, width = batch.sizes[row]
        # A copy, so that a prediction does not keep its batch alive.
        anomaly_map = maps[row, :height, :width].astype(np.float32, copy=True)
        score = float(scores[row])
        predictions[int(batch.indices[row])] = Prediction(
            anomaly_map=anomaly_map,
            score=score,
            mask=anomaly_map >= config.mask_threshold,
            is_anomalous=score >= config.image_threshold,
        )
    return predictions
