"""Photos in, one prediction per photo out: `segment` with files, batches and crops around it."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import PIL.Image
from jaxtyping import Bool, Float32

from zsas_jax.checkpoints import Bundle, Compute, Verdict
from zsas_jax.config import from_dict, to_dict
from zsas_jax.data.images import ImageSource
from zsas_jax.data.loader import Batch, iterate_batches
from zsas_jax.data.sources import Record
from zsas_jax.errors import ConfigError, ImageError
from zsas_jax.methods import check_method, default_method, find_method, settings, verdict
from zsas_jax.methods.base import Context, Maps, Photos, Request, rows_of
from zsas_jax.ops.layers import cast_parameters
from zsas_jax.segment import lower, segment


class Prediction(NamedTuple):
    """What is known of one photo, at its own upright size."""

    anomaly_map: Float32[np.ndarray, "h w"]
    """0 to 1."""
    score: float
    """The image score."""
    mask: Bool[np.ndarray, "h w"]
    """The map at or above the mask threshold."""
    is_anomalous: bool
    """The score at or above the image threshold."""


def prepare(
    bundle: Bundle,
    categories: Sequence[str],
    method: str | None = None,
    config: Any = None,
    request: Request = Request(),
) -> Context:
    """What a method computes once per category: a pytree of arrays [category, ...].

    Its rows for each photo's category are `segment`'s third argument.

    Raises:
        ConfigError: an unknown method, or a network that it needs is missing.
    """
    name, config = chosen(bundle, method, config)
    return find_method(name).prepare(bundle, categories, config, request)


def chosen(bundle: Bundle, method: str | None, config: Any) -> tuple[str, Any]:
    """The method's name and its config: those given, else the checkpoint's own; checked.

    Raises:
        ConfigError: an unknown method, another method's config, a missing network.
    """
    name = find_method(default_method(bundle.config) if method is None else method).name
    if config is None:
        config = settings(bundle.config, name)
    elif type(config) is not find_method(name).config:
        raise ConfigError(
            f"config is a {type(config).__name__}: expected the settings of method {name!r}, as "
            "zsas_jax.settings returns them"
        )
    check_method(bundle.config, name, config)
    return name, config


def predict(
    bundle: Bundle,
    images: Sequence[ImageSource],
    categories: str | Sequence[str] = "object",
    method: str | None = None,
    seed: int = 0,
    batch_size: int = 8,
    threshold: float | None = None,
    image_threshold: float | None = None,
    *,
    config: Any = None,
    compute: Compute | None = None,
    request: Request = Request(),
) -> list[Prediction]:
    """Segments the anomalies of photos of any kind and size.

    Args:
        bundle: networks, tokenizers and settings, as `zsas_jax.load` returns them.
        images: paths, bytes of image files, PIL images or arrays (see `data.images`).
        categories: what the photos show, in words: one name for all, or one per photo.
        method: a name such as "cascade" or "umci+mmr"; default the checkpoint's own.
        seed: seed of random points; each photo's own seed also depends on its content.
        batch_size: photos in one program; less where photos are large.
        threshold: mask threshold in 0..1; default the one chosen for the method.
        image_threshold: score from which a photo is anomalous; default likewise
            (`zsas_jax.evaluation.verdicts` finds one calibrated on good parts).
        config: the method's settings; default the checkpoint's.
        compute: dtype and so on; default the checkpoint's.
        request: own prompts, examples of good parts.

    Raises:
        ImageError: a photo that cannot be read. ConfigError: an unknown method, or as many
            categories as neither one nor the number of photos.
    """
    if isinstance(images, str | os.PathLike | bytes | PIL.Image.Image | np.ndarray):
        raise ImageError("images is a single photo: expected a list of photos")
    name, config = chosen(bundle, method, config)
    compute = compute or bundle.config.compute
    limits = _limits(verdict(bundle.config, name), threshold, image_threshold)
    names = _category_of_each(categories, len(images))
    if not names:
        return []
    distinct = list(dict.fromkeys(names))
    context = find_method(name).prepare(bundle, distinct, config, request)
    labels = np.array([distinct.index(name) for name in names])
    program = partial(
        segment,
        cast_parameters(bundle.model, compute.dtype),
        method=name,
        config=config,
        compute=compute,
    )
    predictions: dict[int, Prediction] = {}
    records = [_record(image, index, names[index]) for index, image in enumerate(images)]
    for batch in iterate_batches(records, batch_size=batch_size, seed=seed):
        if batch.failures:
            raise ImageError(batch.failures[0].message)
        photos = Photos(batch.canvas, batch.sizes, batch.keys)  # pyright: ignore
        found = program(photos, rows_of(context, labels[batch.indices]))
        predictions.update(_crop(batch, found, limits))
    return [predictions[index] for index in range(len(images))]


def compile(
    bundle: Bundle,
    shape: tuple[int, int],
    batch_size: int = 1,
    method: str | None = None,
    *,
    config: Any = None,
    compute: Compute | None = None,
    keep: tuple[str, ...] = (),
) -> Callable[[Photos, Context], Maps]:
    """Compiles `segment` for batches of one shape, so that the first batch does not wait.

    Args:
        bundle: as for `predict`.
        shape: (height, width) of the canvas in pixels; photos may be smaller.
        batch_size: photos in a batch.
        method: as for `predict`.
        config: as for `predict`.
        compute: as for `predict`.
        keep: names of intermediates to return.

    Returns:
        (photos, context rows) -> maps; photos of another shape are a TypeError of JAX's.

    Raises:
        ConfigError: sizes below 1, or what `predict` raises.
    """
    if len(shape) != 2 or min(*shape, batch_size) < 1:
        raise ConfigError(
            f"shape is {shape} and batch_size {batch_size}: expected (height, width) in pixels "
            "and a number of photos, at least 1 each"
        )
    name, config = chosen(bundle, method, config)
    compute = compute or bundle.config.compute
    context = prepare(bundle, ["object"], name, config)
    networks = cast_parameters(bundle.model, compute.dtype)
    static = {"method": name, "config": config, "compute": compute, "keep": keep}
    program = lower(networks, shape, batch_size, context, **static).compile()
    return partial(program, networks)


def _limits(own: Verdict, threshold: float | None, image_threshold: float | None) -> Verdict:
    changes = {"mask_threshold": threshold, "image_threshold": image_threshold}
    given = {name: value for name, value in changes.items() if value is not None}
    return from_dict(Verdict, to_dict(own) | given, "verdict")


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


def _crop(batch: Batch, found: Maps, limits: Verdict) -> dict[int, Prediction]:
    maps, scores = jax.device_get((found.anomaly_map, found.image_score))
    predictions = {}
    for row in np.flatnonzero(batch.valid):
        height, width = batch.sizes[row]
        # A copy, so that a prediction does not keep its batch alive.
        anomaly_map = maps[row, :height, :width].astype(np.float32, copy=True)
        score = float(scores[row])
        predictions[int(batch.indices[row])] = Prediction(
            anomaly_map=anomaly_map,
            score=score,
            mask=anomaly_map >= limits.mask_threshold,
            is_anomalous=score >= limits.image_threshold,
        )
    return predictions
