"""Exact segmentation metrics of any number of images in one pass and bounded memory.

Pixels are counted in the bins of `histogram.py`; on these bins AUROC, AP, F1-max and PRO are
exact. PRO needs no thresholds: each anomalous pixel weighs 1 / area of its region.
"""

from collections.abc import Iterable, Sequence
from typing import Any, SupportsFloat, SupportsInt

import numpy as np
from jaxtyping import Bool, Float, Shaped

from zsas_jax.errors import ZsasError
from zsas_jax.metrics import curves
from zsas_jax.metrics.histogram import MANTISSA_BITS, ScoreHistogram, float_keys
from zsas_jax.metrics.regions import region_weights

METRICS = (
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1_max",
    "pixel_pro",
    "image_auroc",
    "image_ap",
    "image_f1_max",
)


class MetricsError(ZsasError, ValueError):
    """Maps, masks, scores or labels that no metric can be computed of."""


class StreamingMetrics:
    """Accumulates one image at a time; parts made on other hosts or runs are merged.

    Memory does not grow with the number of pixels; of each image its score and label are kept.
    """

    def __init__(self):
        self._histogram = ScoreHistogram()
        self._regions = 0
        self._scores: list[float] = []
        self._labels: list[int] = []

    def update(
        self,
        anomaly_map: Float[np.ndarray, "h w"],
        mask: Bool[np.ndarray, "mask_h mask_w"] | None,
        image_score: SupportsFloat | None = None,
        label: SupportsInt | None = None,
    ) -> None:
        """Adds one image.

        Args:
            anomaly_map: scores of any scale; float64 is rounded to float32.
            mask: True is anomalous; None is an all-normal image.
            image_score: None leaves the image out of the image metrics.
            label: 1 anomalous, 0 normal; None takes whether the mask has an anomalous pixel.

        Raises:
            MetricsError: a value that is not finite, or a mask of another shape.
        """
        self.add_pixels(anomaly_map, mask)
        if image_score is not None:
            anomalous = label if label is not None else mask is not None and mask.any()
            self.add_image(image_score, anomalous)

    def add_pixels(
        self,
        anomaly_map: Float[np.ndarray, "h w"],
        mask: Bool[np.ndarray, "mask_h mask_w"] | None,
    ) -> None:
        """Adds the pixels of one image to the pixel metrics; arguments as in `update`."""
        if anomaly_map.size == 0 or (mask is not None and mask.shape != anomaly_map.shape):
            found = "no mask" if mask is None else f"a mask of {mask.shape}"
            raise MetricsError(
                f"an anomaly map of shape {anomaly_map.shape} came with {found}: "
                "expected pixels, and a mask of the same shape"
            )
        if not np.isfinite(anomaly_map.astype(np.float32, copy=False)).all():
            raise MetricsError("an anomaly map has NaN or infinite pixels: expected finite scores")
        keys = float_keys(anomaly_map)
        mask = np.zeros(keys.shape, bool) if mask is None else mask
        weights, regions = region_weights(mask)
        self._histogram.add(keys.ravel(), keys[mask], weights)
        self._regions += regions

    def add_image(self, image_score: SupportsFloat, label: SupportsInt) -> None:
        """Adds one image to the image metrics: 1 anomalous, 0 normal."""
        if not np.isfinite(float(image_score)):
            raise MetricsError(f"an image score is {image_score}: expected a finite number")
        self._scores.append(float(image_score))
        self._labels.append(int(int(label) != 0))

    def merge(self, other: "StreamingMetrics") -> None:
        """Adds everything that `other` has seen."""
        self._histogram.merge(other._histogram)
        self._regions += other._regions
        self._scores += other._scores
        self._labels += other._labels

    def result(self) -> dict[str, Any]:
        """All of `METRICS` as fractions, the thresholds of both F1-max, and "reasons": a table of
        metric -> why it is None.
        """
        result: dict[str, Any] = dict.fromkeys(METRICS)
        result |= {"pixel_f1_max_threshold": None, "image_f1_max_threshold": None}
        reasons: dict[str, str] = {}
        scores, positives, negatives, overlaps = self._histogram.bins()
        _fill(result, reasons, "pixel", scores, positives, negatives)
        if "pixel_auroc" in reasons:
            reasons["pixel_pro"] = reasons["pixel_auroc"]
        else:
            result["pixel_pro"] = curves.pro(overlaps, negatives, self._regions)
        _fill(result, reasons, "image", *_distinct(self._scores, self._labels))
        return result | {"reasons": reasons}

    def state(self) -> dict[str, np.ndarray]:
        """Everything seen, as arrays for `numpy.savez`."""
        return self._histogram.state() | {
            "regions": np.array(self._regions),
            "scores": np.array(self._scores, np.float64),
            "labels": np.array(self._labels, np.int8),
        }

    @classmethod
    def from_state(cls, state: Any) -> "StreamingMetrics":
        """Continues from `state()`, also as loaded by `numpy.load`.

        Raises:
            MetricsError: a state with another number of mantissa bits.
        """
        if int(state["mantissa_bits"]) != MANTISSA_BITS:
            raise MetricsError(
                f"stored metrics have {state['mantissa_bits']} mantissa bits: "
                f"expected {MANTISSA_BITS}"
            )
        metrics = cls()
        metrics._histogram = ScoreHistogram.from_state(state)
        metrics._regions = int(state["regions"])
        metrics._scores = np.asarray(state["scores"]).tolist()
        metrics._labels = np.asarray(state["labels"]).tolist()
        return metrics


def _distinct(
    scores: Sequence[float], labels: Sequence[int]
) -> tuple[Float[np.ndarray, " n"], Shaped[np.ndarray, " n"], Shaped[np.ndarray, " n"]]:
    """Distinct scores in ascending order, positives and negatives of each."""
    distinct, index = np.unique(np.array(scores, np.float64), return_inverse=True)
    positives = np.bincount(index, np.array(labels, np.float64), minlength=len(distinct))
    return distinct, positives, np.bincount(index, minlength=len(distinct)) - positives


def _fill(
    result: dict[str, Any],
    reasons: dict[str, str],
    level: str,
    scores: np.ndarray,
    positives: np.ndarray,
    negatives: np.ndarray,
) -> None:
    """Sets the three metrics that pixels and images share, or says why they are undefined."""
    names = [f"{level}_{name}" for name in ("auroc", "ap", "f1_max")]
    if not positives.sum():
        found = f"no anomalous {level}s" if len(scores) else f"no labelled {level}s"
        reasons |= dict.fromkeys(names, found)
        return
    result[names[1]] = curves.average_precision(positives, negatives)
    result[names[2]], best = curves.f1_max(positives, negatives)
    result[names[2] + "_threshold"] = float(scores[best])
    if negatives.sum():
        result[names[0]] = curves.auroc(positives, negatives)
    else:
        reasons[names[0]] = f"no normal {level}s"


def evaluate_maps(
    maps: Iterable[Float[np.ndarray, "..."]],
    masks: Iterable[Shaped[np.ndarray, "..."] | None],
    scores: Iterable[SupportsFloat] | None = None,
    labels: Iterable[SupportsInt] | None = None,
) -> dict[str, Any]:
    """All metrics of plain arrays; the images may differ in size.

    Args:
        maps: anomaly maps [h, w], one an image.
        masks: [h, w], non-zero is anomalous; None is an all-normal image.
        scores: image scores, by default the highest pixel of each map.
        labels: 1 anomalous, 0 normal; by default whether the mask has an anomalous pixel.

    Returns:
        As `StreamingMetrics.result`.

    Raises:
        MetricsError: sequences of different lengths, shapes that do not match, NaN.
    """
    metrics = StreamingMetrics()
    columns = [maps, masks, *(column for column in (scores, labels) if column is not None)]
    try:
        for row in zip(*columns, strict=True):
            anomaly_map = np.asarray(row[0])
            if not np.issubdtype(anomaly_map.dtype, np.floating):
                anomaly_map = anomaly_map.astype(np.float32)
            mask = None if row[1] is None else np.asarray(row[1]) != 0
            score = row[2] if scores is not None else anomaly_map.max(initial=-np.inf)
            metrics.update(anomaly_map, mask, score, row[-1] if labels is not None else None)
    except ValueError as error:
        if isinstance(error, MetricsError) or "zip()" not in str(error):
            raise
        raise MetricsError(f"maps, masks, scores and labels differ in number ({error})") from error
    return metrics.result()


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
