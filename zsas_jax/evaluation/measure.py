"""Takes finished photos one by one: counts, rows of tables, pictures and files."""

import errno
import os
import pathlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Float16, UInt8

from zsas_jax.checkpoints.bundle import Verdict
from zsas_jax.data.images import decode_mask
from zsas_jax.data.loader import Batch
from zsas_jax.data.sources import Record
from zsas_jax.errors import ImageError
from zsas_jax.evaluation.maps import save_map_png16, save_mask_png, small_map
from zsas_jax.evaluation.options import Outputs
from zsas_jax.evaluation.overlays import Stages, save_overlay
from zsas_jax.evaluation.pictures import panels
from zsas_jax.evaluation.stopwatch import Steps
from zsas_jax.evaluation.strips import Photo, Strips
from zsas_jax.methods.base import Maps
from zsas_jax.metrics import (
    METRICS,
    MetricOptions,
    MetricsError,
    StreamingMetrics,
    intervals,
    mean_replicates,
    mean_result,
)
from zsas_jax.metrics.names import EXTRA
from zsas_jax.metrics.resolution import NATIVE, Resolution, resize_map, resize_mask

VERDICTS = ("good", "anomalous")
# Of a photo's name that is too long for a result, or that another result has taken.
_BAD_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


class Collector:
    """Takes finished photos: counts, rows, pictures, files."""

    def __init__(
        self,
        directory: pathlib.Path,
        verdict: Verdict,
        resolution: Resolution,
        options: MetricOptions,
        outputs: Outputs,
        strips: Strips,
        small_maps: Float16[np.ndarray, "n side side"],
    ):
        self.directory, self.verdict, self.outputs = directory, verdict, outputs
        self.resolution, self.options = resolution, options
        self.strips, self.small_maps = strips, small_maps
        self.steps = Steps()
        self.photos: list[Photo] = []
        self._failed: dict[str, str] = {}  # of those done
        self._unread: dict[str, str] = {}
        self.done: list[int] = []  # positions in the source
        self.full_canvases: set[int] = set()
        self.seconds = 0.0
        self.metrics: dict[str, StreamingMetrics] = {}
        self._overlays: dict[str, int] = defaultdict(int)

    @property
    def failures(self) -> dict[str, str]:
        """One sentence for each photo that could not be read or counted, by name."""
        return self._unread | self._failed

    def add(self, batch: Batch, output: Maps | None, labelled: bool) -> None:
        """Takes one batch and waits for the device; `labelled` says whether masks are known."""
        self._unread |= {failure.name: failure.message for failure in batch.failures}
        if output is None:
            return
        with self.steps.timed("device"):
            anomaly_maps, scores = jax.device_get((output.anomaly_map, output.image_score))
        self.done += batch.indices[batch.valid].tolist()
        for row, record in enumerate(batch.records):
            height, width = (int(value) for value in batch.sizes[row])
            try:
                with self.steps.timed("decode"):
                    truth = read_truth(record, height, width) if labelled else None
                self._add_photo(
                    int(batch.indices[row]),
                    record,
                    batch.canvas[row, :height, :width],
                    anomaly_maps[row, :height, :width],
                    truth,
                    float(scores[row]),
                    lambda row=row: stages_of(output, row),
                )
            except (ImageError, MetricsError) as error:
                self._failed[record["name"]] = str(error)
            except OSError as error:
                if error.errno not in _BAD_NAME:
                    raise
                self._failed[record["name"]] = (
                    f"results of {record['name']} cannot be written ({error.strerror}): expected "
                    "another name"
                )
        # Data sets come category by category: those not in this batch are likely complete.
        present = {record["category"] for record in batch.records}
        for category in self.metrics.keys() - present:
            self.metrics[category].compact()

    def _add_photo(
        self,
        index: int,
        record: Record,
        photo: UInt8[np.ndarray, "h w 3"],
        anomaly_map: Float[np.ndarray, "h w"],
        truth: Bool[np.ndarray, "h w"] | None,
        score: float,
        stages: Callable[[], Stages],
    ) -> None:
        name, category = record["name"], record["category"]
        label = int(record["label"])
        if not (np.isfinite(anomaly_map).all() and np.isfinite(score)):
            raise MetricsError(f"the network's map of {name} is not finite: its weights are faulty")
        mask = anomaly_map >= self.verdict.mask_threshold
        verdict = VERDICTS[score >= self.verdict.image_threshold]
        photo = np.ascontiguousarray(photo)
        # Written before it counts: what cannot be written is a failure.
        with self.steps.timed("write"):
            self.small_maps[index] = small_map(anomaly_map)
            if self.outputs.maps:
                save_map_png16(self.directory / "maps" / f"{name}.png", anomaly_map)
                save_mask_png(self.directory / "masks" / f"{name}.png", mask)
            if self._wants_overlay(category, label > 0):
                save_overlay(
                    self.directory / "overlays" / f"{name}.jpg",
                    photo,
                    anomaly_map,
                    mask,
                    truth=truth,
                    stages=stages(),
                    verdict=f"{verdict} {score:.2f}",
                )
        with self.steps.timed("metrics"):
            ap = self._count(record, anomaly_map, truth, score)
        area, highest = float(mask.mean()), float(anomaly_map.max())
        row = Photo(
            index, name, category, record["defect"], label, score, verdict, area, highest, ap
        )
        self.photos.append(row)
        with self.steps.timed("pictures"):
            self.strips.offer(row, lambda: panels(photo, anomaly_map, mask, stages(), truth))

    def _count(
        self,
        record: Record,
        anomaly_map: Float[np.ndarray, "h w"],
        truth: Bool[np.ndarray, "h w"] | None,
        score: float,
    ) -> float | None:
        """Adds a photo to its category's metrics; returns its own pixel AP."""
        metrics = self.metrics.setdefault(record["category"], StreamingMetrics(self.options))
        label, ap = int(record["label"]), None
        about = {"name": record["name"], "defect_type": record["defect"] if label > 0 else None}
        if truth is not None:
            scores, mask = self._at_resolution(anomaly_map, truth)
            metrics.add_pixels(scores, mask, label=label if label >= 0 else None, **about)
            ap = photo_ap(scores, mask)
        if label >= 0:
            metrics.add_image(score, label, **about)
        return ap

    def _at_resolution(
        self, anomaly_map: np.ndarray, truth: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.resolution == NATIVE:
            return anomaly_map, truth
        side = int(self.resolution)
        return resize_map(anomaly_map, side, side), resize_mask(truth, side, side)

    def _wants_overlay(self, category: str, anomalous: bool) -> bool:
        """A third of the pictures shows good parts."""
        most = self.outputs.overlays
        if most is None:
            return True
        good = most // 3
        kind = f"{category}/{anomalous}"
        self._overlays[kind] += 1
        return self._overlays[kind] <= (most - good if anomalous else good)

    def rows(self) -> list[tuple]:
        """The rows of scores.csv, by name."""
        known = {0: VERDICTS[0], 1: VERDICTS[1]}
        return sorted(
            (p.name, p.category, known.get(p.label, ""), p.score, p.verdict, p.area)
            for p in self.photos
        )

    def summary(self) -> dict[str, Any]:
        """The parts of metrics.json that say how good the maps are."""
        found = {name: self.metrics[name].result() for name in sorted(self.metrics)}
        mean, mean_reasons = mean_result(found.values())
        extra = [name for name in EXTRA if any(name in result for result in found.values())]
        for name in extra:
            values = [result[name] for result in found.values() if result[name] is not None]
            mean[name] = float(np.mean(values)) if values else None
        reasons = {name: result["reasons"] for name, result in found.items() if result["reasons"]}
        summary = {
            "categories": {
                name: {metric: result[metric] for metric in (*METRICS, *extra)}
                for name, result in found.items()
            },
            "mean": mean,
            "reasons": reasons | ({"mean": mean_reasons} if mean_reasons else {}),
            "thresholds": {
                name: {key: value for key, value in result.items() if key.endswith("threshold")}
                for name, result in found.items()
            },
            "defect_types": {
                name: {
                    defect: {metric: row[metric] for metric in METRICS}
                    for defect, row in result.get("defect_types", {}).items()
                }
                for name, result in found.items()
            },
        }
        if self.options.bootstrap:
            summary["confidence"] = self._confidence(found)
        return summary

    def _confidence(self, found: dict[str, Any]) -> dict[str, Any]:
        """Intervals of each category, and of their mean: categories resampled independently."""
        replicates = [self.metrics[name].replicates(result) for name, result in found.items()]
        return {
            "level": self.options.confidence,
            "categories": {name: result["confidence"] for name, result in found.items()},
            "mean": intervals(mean_replicates(replicates), self.options.confidence),
        }

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Everything taken so far: JSON types, and arrays by name.

        Photos that could not be read are left out: whoever goes on tries them again.
        """
        facts = {
            "photos": self.photos,
            "failed": self._failed,
            "overlays": self._overlays,
            "strips": self.strips.state(),
            "done": self.done,
            "full_canvases": sorted(self.full_canvases),
            "seconds": self.seconds,
            "steps": self.steps,
            "categories": list(self.metrics),
        }
        arrays = {
            f"{number}/{name}": array
            for number, metrics in enumerate(self.metrics.values())
            for name, array in metrics.state().items()
        }
        return facts, arrays

    def restore(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Continues from `state()`."""
        self.photos = [Photo(*row) for row in facts["photos"]]
        self._failed = facts["failed"]
        self._overlays.update(facts["overlays"])
        self.strips.restore(facts["strips"], self.photos)
        self.done, self.seconds = facts["done"], facts["seconds"]
        self.full_canvases = set(facts["full_canvases"])
        self.steps.update(facts["steps"])
        for number, category in enumerate(facts["categories"]):
            prefix = f"{number}/"
            state = {
                name.removeprefix(prefix): array
                for name, array in arrays.items()
                if name.startswith(prefix)
            }
            self.metrics[category] = StreamingMetrics.from_state(state)


def photo_ap(scores: Float[np.ndarray, "h w"], mask: Bool[np.ndarray, "h w"]) -> float | None:
    """Pixel AP of one photo, to rank pictures by; None where nothing is anomalous."""
    if not mask.any():
        return None
    anomalous, normal = np.sort(scores[mask]), np.sort(scores[~mask])
    distinct, hits = np.unique(anomalous, return_counts=True)
    true = len(anomalous) - np.searchsorted(anomalous, distinct)
    false = len(normal) - np.searchsorted(normal, distinct)
    return float(hits @ (true / (true + false)) / len(anomalous))


def read_truth(record: Record, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The photo's mask; a photo without one has no anomaly."""
    if record["mask"] is None:
        return np.zeros((height, width), bool)
    mask = decode_mask(record["mask"])
    if mask.shape != (height, width):
        source = record["mask"]
        called = source if isinstance(source, str | os.PathLike) else f"mask of {record['name']}"
        raise ImageError(
            f"{called} has {mask.shape[1]} x {mask.shape[0]} pixels: "
            f"expected the {width} x {height} of its photo"
        )
    return mask


def stages_of(output: Maps, row: int) -> Stages:
    """One photo's stages, fetched from the device: a batch of 1."""
    return jax.device_get(jax.tree.map(lambda leaf: leaf[row][None], output.stages))
