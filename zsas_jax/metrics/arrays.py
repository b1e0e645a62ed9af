"""All metrics of plain arrays, and their means over categories."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, SupportsFloat, SupportsInt

import numpy as np
from jaxtyping import Float, Shaped

from zsas_jax.metrics.options import MetricOptions
from zsas_jax.metrics.streaming import METRICS, MetricsError, StreamingMetrics


def evaluate_maps(
    maps: Iterable[Float[np.ndarray, "..."]],
    masks: Iterable[Shaped[np.ndarray, "..."] | None],
    scores: Iterable[SupportsFloat] | None = None,
    labels: Iterable[SupportsInt] | None = None,
    *,
    defect_types: Iterable[str | None] | None = None,
    names: Iterable[str] | None = None,
    options: MetricOptions = MetricOptions(),  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """All metrics of plain arrays; the images may differ in size.

    Args:
        maps: anomaly maps [h, w], one an image.
        masks: [h, w], non-zero is anomalous; None is an all-normal image.
        scores: image scores, by default the highest pixel of each map.
        labels: 1 anomalous, 0 normal; by default whether the mask has an anomalous pixel.
        defect_types: for `options.by_defect_type`; None for normal images.
        names: of the images, for `options.bootstrap`; by default the maps' content.
        options: what to measure beside the seven metrics. With a score_range of None, region F1
            takes the lowest and the highest of all maps, which must then be a sequence.

    Returns:
        As `StreamingMetrics.result`.

    Raises:
        MetricsError: sequences of different lengths, shapes that do not match, NaN.
    """
    if (
        options.region_f1
        and options.score_range is None
        and isinstance(maps, Sequence | np.ndarray)
    ):
        options = dataclasses.replace(options, score_range=_score_range(maps))
    metrics = StreamingMetrics(options)
    columns = {"score": scores, "label": labels, "defect_type": defect_types, "name": names}
    columns = {name: column for name, column in columns.items() if column is not None}
    try:
        for anomaly_map, mask, *row in zip(maps, masks, *columns.values(), strict=True):
            given: dict[str, Any] = dict(zip(columns, row, strict=True))
            anomaly_map = np.asarray(anomaly_map)
            mask = None if mask is None else np.asarray(mask) != 0
            if anomaly_map.ndim != 2 or (mask is not None and mask.ndim != 2):
                shapes = anomaly_map.shape, None if mask is None else mask.shape
                raise MetricsError(
                    f"a map and mask have shapes {shapes[0]} and {shapes[1]}: expected [h, w]"
                )
            if not np.issubdtype(anomaly_map.dtype, np.floating):
                anomaly_map = anomaly_map.astype(np.float32)
            score = given.pop("score", None)
            if score is None:
                score = anomaly_map.max(initial=-np.inf)
            metrics.update(anomaly_map, mask, score, **given)
    except ValueError as error:
        if isinstance(error, MetricsError) or "zip()" not in str(error):
            raise
        raise MetricsError(f"maps, masks, scores and labels differ in number ({error})") from error
    return metrics.result()


def _score_range(maps: Iterable[Float[np.ndarray, "..."]]) -> tuple[float, float]:
    arrays = [np.asarray(anomaly_map) for anomaly_map in maps]
    low = min((float(array.min(initial=np.inf)) for array in arrays), default=0.0)
    high = max((float(array.max(initial=-np.inf)) for array in arrays), default=1.0)
    if not np.isfinite(low) or not np.isfinite(high):
        raise MetricsError("an anomaly map has NaN or infinite pixels: expected finite scores")
    return (low, high) if low < high else (low, low + 1.0)


def mean_result(
    results: Iterable[dict[str, Any]],
) -> tuple[dict[str, float | None], dict[str, str]]:
    """The mean of each metric over the categories where it is defined, and the reasons beside."""
    results = list(results)
    mean: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name in METRICS:
        defined = [result[name] for result in results if result[name] is not None]
        mean[name] = float(np.mean(defined)) if defined else None
        if not defined:
            reasons[name] = "undefined in every category"
        elif len(defined) < len(results):
            reasons[name] = f"mean over {len(defined)} of {len(results)} categories"
    return mean, reasons
