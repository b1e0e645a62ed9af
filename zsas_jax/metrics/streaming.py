"""Exact segmentation metrics of any number of images in one pass and bounded memory.

Pixels are counted in the bins of `histogram.py`; on these bins AUROC, AP, F1-max and PRO are
exact. PRO needs no thresholds: each anomalous pixel weighs 1 / area of its region.
"""

import dataclasses
import json
from typing import Any, NamedTuple, SupportsFloat, SupportsInt

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from zsas_jax.config import from_dict
from zsas_jax.errors import ZsasError
from zsas_jax.metrics import curves, histogram
from zsas_jax.metrics.bootstrap import Bootstrap, image_key, intervals
from zsas_jax.metrics.boundary import BoundaryF1
from zsas_jax.metrics.histogram import ScoreHistogram, float_keys
from zsas_jax.metrics.levels import distinct, fill, level_curves
from zsas_jax.metrics.options import MetricOptions
from zsas_jax.metrics.region_f1 import RegionF1
from zsas_jax.metrics.regions import region_areas

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


class ScoreCounts(NamedTuple):
    """How many anomalous and normal pixels or images have a score between two edges."""

    edges: Float[np.ndarray, " bins+1"]
    anomalous: Int[np.ndarray, " bins"]
    normal: Int[np.ndarray, " bins"]


class StreamingMetrics:
    """Accumulates one image at a time; parts made on other hosts or runs are merged.

    Memory does not grow with the number of pixels; of each image its score and label are kept (and,
    for confidence intervals, a key of 64 bits). Neither the order of the images nor how they were
    split matters, to the last bit.
    """

    def __init__(
        self,
        options: MetricOptions = MetricOptions(),  # noqa: B008 (frozen)
        limits: histogram.Limits | None = None,
    ):
        """`limits` are those of the histogram of pixels, by default `histogram.FULL`.

        Raises:
            MetricsError: region F1 without a range of scores.
        """
        self.options = options
        self._histogram = ScoreHistogram(limits or histogram.FULL)
        self._regions = 0
        self._scores: list[float] = []
        self._labels: list[int] = []
        # Defect type -> its images; "" is the normal ones.
        self._types: dict[str, StreamingMetrics] = {}
        self._parts: dict[str, Any] = {}
        if options.region_f1:
            if options.score_range is None:
                raise MetricsError(
                    "region F1 in one pass needs a score_range: expected (low, high)"
                )
            self._parts["region_f1"] = RegionF1(options.score_range)
        if options.boundary_thresholds:
            self._parts["boundary_f1"] = BoundaryF1(
                options.boundary_thresholds, options.boundary_tolerance
            )
        if options.bootstrap:
            self._parts["bootstrap"] = Bootstrap(options.bootstrap, options.bootstrap_seed)

    def update(
        self,
        anomaly_map: Float[np.ndarray, "h w"],
        mask: Bool[np.ndarray, "mask_h mask_w"] | None,
        image_score: SupportsFloat | None = None,
        label: SupportsInt | None = None,
        *,
        defect_type: str | None = None,
        name: str | None = None,
    ) -> None:
        """Adds one image.

        Args:
            anomaly_map: scores of any scale; float64 is rounded to float32.
            mask: True is anomalous; None is an all-normal image.
            image_score: None leaves the image out of the image metrics.
            label: 1 anomalous, 0 normal; None takes whether the mask has an anomalous pixel.
            defect_type: for the rows by defect type; None for normal images. Anomalous ones
                without a type are in no row.
            name: identifies the image in the bootstrap; None takes the map's content.

        Raises:
            MetricsError: a value that is not finite, or a mask of another shape.
        """
        anomaly_map = _checked(anomaly_map, mask)
        anomalous = label if label is not None else mask is not None and mask.any()
        if self.options.bootstrap and name is None:
            name = str(image_key("", anomaly_map, np.zeros(0) if mask is None else mask))
        if image_score is not None and not np.isfinite(float(image_score)):
            raise MetricsError(f"an image score is {image_score}: expected a finite number")
        self._add_pixels(anomaly_map, mask, label, defect_type, name)
        if image_score is not None:
            self.add_image(image_score, anomalous, defect_type=defect_type, name=name)

    def add_pixels(
        self,
        anomaly_map: Float[np.ndarray, "h w"],
        mask: Bool[np.ndarray, "mask_h mask_w"] | None,
        *,
        label: SupportsInt | None = None,
        defect_type: str | None = None,
        name: str | None = None,
    ) -> None:
        """Adds the pixels of one image to the pixel metrics; arguments as in `update`."""
        self._add_pixels(_checked(anomaly_map, mask), mask, label, defect_type, name)

    def _add_pixels(
        self,
        anomaly_map: Float32[np.ndarray, "h w"],
        mask: Bool[np.ndarray, "h w"] | None,
        label: SupportsInt | None,
        defect_type: str | None,
        name: str | None,
    ) -> None:
        keys = float_keys(anomaly_map)
        mask = np.zeros(keys.shape, bool) if mask is None else mask
        areas, regions = region_areas(mask)
        keys, anomalous_keys = keys.ravel(), keys[mask]
        if "bootstrap" in self._parts:
            key = image_key(name) if name is not None else image_key("", anomaly_map, mask)
            self._parts["bootstrap"].add_pixels(key, keys, anomalous_keys, areas, regions)
        for part in ("region_f1", "boundary_f1"):
            if part in self._parts:
                self._parts[part].add(anomaly_map, mask)
        anomalous = bool(regions) if label is None else int(label) != 0
        for metrics in (self, self._of_type(defect_type, anomalous)):
            if metrics is not None:
                metrics._histogram.add(keys, anomalous_keys, areas)
                metrics._regions += regions

    def add_image(
        self,
        image_score: SupportsFloat,
        label: SupportsInt,
        *,
        defect_type: str | None = None,
        name: str | None = None,
    ) -> None:
        """Adds one image to the image metrics: 1 anomalous, 0 normal.

        Raises:
            MetricsError: a score that is not finite, or no name for the bootstrap.
        """
        if not np.isfinite(float(image_score)):
            raise MetricsError(f"an image score is {image_score}: expected a finite number")
        if "bootstrap" in self._parts:
            if name is None:
                raise MetricsError("an image score came without a name: the bootstrap needs one")
            self._parts["bootstrap"].add_image(image_key(name))
        for metrics in (self, self._of_type(defect_type, int(label) != 0)):
            if metrics is not None:
                metrics._scores.append(float(image_score))
                metrics._labels.append(int(int(label) != 0))

    def merge(self, other: "StreamingMetrics") -> None:
        """Adds everything that `other` has seen.

        Raises:
            MetricsError: metrics with other options.
        """
        if other.options != self.options:
            raise MetricsError(
                f"metrics with {other.options} cannot be merged into {self.options}: "
                "expected the same options"
            )
        self._histogram.merge(other._histogram)
        self._regions += other._regions
        self._scores += other._scores
        self._labels += other._labels
        for name, part in self._parts.items():
            part.merge(other._parts[name])
        for name, metrics in other._types.items():
            self._type(name).merge(metrics)

    def compact(self) -> None:
        """Takes less memory until more pixels are added; results stay the same."""
        for metrics in (self, *self._types.values()):
            metrics._histogram.compact()

    def result(self) -> dict[str, Any]:
        """All of `METRICS` as fractions, the thresholds of both F1-max, and "reasons": a table of
        metric -> why it is None.

        By the options also "region_f1" and its threshold, "boundary_f1", "pixel_pro_200",
        "confidence" (metric -> [low, high]) and "defect_types" (type -> as `result`).
        """
        result: dict[str, Any] = dict.fromkeys(METRICS)
        result |= {"pixel_f1_max_threshold": None, "image_f1_max_threshold": None}
        reasons: dict[str, str] = {}
        scores, positives, negatives, overlaps = self._histogram.bins()
        fill(result, reasons, "pixel", scores, positives, negatives)
        if "pixel_auroc" in reasons:
            reasons["pixel_pro"] = reasons["pixel_auroc"]
        else:
            result["pixel_pro"] = curves.pro(overlaps, negatives, self._regions)
        fill(result, reasons, "image", *distinct(self._scores, self._labels))
        if self.options.pro_200:
            result["pixel_pro_200"] = None
            if "pixel_pro" in reasons:
                reasons["pixel_pro_200"] = reasons["pixel_pro"]
            else:
                value = curves.pro_200(scores, overlaps, negatives, self._regions)
                result["pixel_pro_200"] = value
                if value is None:
                    reasons["pixel_pro_200"] = (
                        "fewer than two rates below 0.3 at its 200 thresholds"
                    )
        if "region_f1" in self._parts:
            found = self._parts["region_f1"].result()
            result["region_f1"], result["region_f1_threshold"] = found or (None, None)
            if found is None:
                reasons["region_f1"] = "no anomalous pixels"
        if "boundary_f1" in self._parts:
            result["boundary_f1"] = self._parts["boundary_f1"].result()
            if result["boundary_f1"] is None:
                reasons["boundary_f1"] = "no boundary between normal and anomalous pixels"
        if "bootstrap" in self._parts:
            result["confidence"] = intervals(self.replicates(result), self.options.confidence)
        if self.options.by_defect_type:
            result["defect_types"] = self._type_results()
        return result | {"reasons": reasons}

    def replicates(
        self, result: dict[str, Any] | None = None
    ) -> dict[str, Float[np.ndarray, " resamples"]]:
        """The metrics of every bootstrap resample; NaN where undefined. Empty without the option.

        `result` saves the time to compute the metrics again.
        """
        if "bootstrap" not in self._parts:
            return {}
        exact = self.result() if result is None else result
        return self._parts["bootstrap"].replicates(exact, self._scores, self._labels)

    def curve_points(self, points: int = curves.CURVE_POINTS) -> dict[str, curves.Curve]:
        """Points of the exact curves, to be drawn: those that are defined of "pixel_roc",
        "pixel_precision_recall", "pixel_pro", "image_roc" and "image_precision_recall".
        """
        scores, positives, negatives, overlaps = self._histogram.bins()
        image = distinct(self._scores, self._labels)
        found = level_curves("pixel", scores, positives, negatives, points)
        if "pixel_roc" in found:
            found["pixel_pro"] = curves.pro_curve(
                scores, overlaps, negatives, self._regions, points=points
            )
        return found | level_curves("image", *image, points)

    def score_counts(self, level: str = "pixel", bins: int = 50) -> ScoreCounts:
        """Histograms to be drawn of the scores of all pixels ("pixel") or images ("image")."""
        if level == "image":
            columns = distinct(self._scores, self._labels)
        else:
            columns = self._histogram.bins()[:3]
        return ScoreCounts(*curves.score_counts(*columns, bins))

    def state(self) -> dict[str, np.ndarray]:
        """Everything seen, as arrays for `numpy.savez`; see `storage.py` for files."""
        state = self._histogram.state() | {
            "regions": np.array(self._regions),
            "scores": np.array(self._scores, np.float64),
            "labels": np.array(self._labels, np.int8),
            "options": np.array(json.dumps(dataclasses.asdict(self.options))),
            "types": np.array(json.dumps(list(self._types))),
        }
        nested = {name: part.state() for name, part in self._parts.items()}
        nested |= {f"type{i}": part.state() for i, part in enumerate(self._types.values())}
        for prefix, arrays in nested.items():
            state |= {f"{prefix}.{name}": array for name, array in arrays.items()}
        return state

    @classmethod
    def from_state(cls, state: Any) -> "StreamingMetrics":
        """Continues from `state()`, also as loaded by `numpy.load`; its options are kept."""
        metrics = cls(from_dict(MetricOptions, json.loads(str(state["options"])), "options"))
        metrics._histogram = ScoreHistogram.from_state(state)
        metrics._regions = int(state["regions"])
        metrics._scores = np.asarray(state["scores"]).tolist()
        metrics._labels = np.asarray(state["labels"]).tolist()
        for name, part in metrics._parts.items():
            part.set_state(_below(state, name))
        for i, name in enumerate(json.loads(str(state["types"]))):
            metrics._types[name] = cls.from_state(_below(state, f"type{i}"))
        return metrics

    def _of_type(self, defect_type: str | None, anomalous: bool) -> "StreamingMetrics | None":
        if not self.options.by_defect_type or (anomalous and not defect_type):
            return None
        return self._type(defect_type or "")

    def _type(self, name: str) -> "StreamingMetrics":
        if name not in self._types:
            options = MetricOptions(pro_200=self.options.pro_200)
            self._types[name] = StreamingMetrics(options, histogram.SMALL)
        return self._types[name]

    def _type_results(self) -> dict[str, Any]:
        results = {}
        for name in sorted(name for name in self._types if name):
            row = StreamingMetrics(self._types[name].options, histogram.SMALL)
            row.merge(self._types[name])
            if "" in self._types:
                row.merge(self._types[""])
            results[name] = row.result()
        return results


def _checked(
    anomaly_map: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "mask_h mask_w"] | None
) -> Float32[np.ndarray, "h w"]:
    if anomaly_map.size == 0 or (mask is not None and mask.shape != anomaly_map.shape):
        found = "no mask" if mask is None else f"a mask of {mask.shape}"
        raise MetricsError(
            f"an anomaly map of shape {anomaly_map.shape} came with {found}: "
            "expected pixels, and a mask of the same shape"
        )
    with np.errstate(over="ignore"):  # beyond float32 is infinite
        anomaly_map = anomaly_map.astype(np.float32, copy=False)
    if not np.isfinite(anomaly_map).all():
        raise MetricsError("an anomaly map has NaN or infinite pixels: expected finite scores")
    return anomaly_map


def _below(state: Any, prefix: str) -> dict[str, np.ndarray]:
    prefix += "."
    return {name[len(prefix) :]: state[name] for name in state if name.startswith(prefix)}
