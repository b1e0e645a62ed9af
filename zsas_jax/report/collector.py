"""Takes finished photos one by one: counts, rows of tables, pictures and files."""

import contextlib
import os
import pathlib
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

from zsas_jax.config import PipelineConfig
from zsas_jax.data.images import decode_mask
from zsas_jax.data.loader import Batch
from zsas_jax.data.sources import Record
from zsas_jax.errors import ImageError
from zsas_jax.metrics import METRICS, MetricsError, StreamingMetrics, mean_result
from zsas_jax.metrics.resolution import NATIVE, Resolution, resize_map, resize_mask
from zsas_jax.report import files
from zsas_jax.report.overlays import Prompts, save_overlay

VERDICTS = ("good", "anomalous")


class Steps(defaultdict[str, float]):
    """Seconds by step."""

    def __init__(self):
        super().__init__(float, {"compile": 0.0, "text": 0.0})

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the time of a block to a step."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self[name] += time.perf_counter() - started


class Collector:
    """Takes finished photos: counts, rows, pictures, files."""

    def __init__(
        self,
        directory: pathlib.Path,
        config: PipelineConfig,
        resolution: Resolution,
        overlays_per_category: int | None,
        save_maps: bool,
    ):
        self.directory, self.config, self.resolution = directory, config, resolution
        self.overlays_per_category, self.save_maps = overlays_per_category, save_maps
        self.steps = Steps()
        self.rows: list[tuple] = []
        self.failures: list[tuple[str, str]] = []
        self.overlays: list[pathlib.Path] = []
        self._metrics: dict[str, StreamingMetrics] = defaultdict(StreamingMetrics)
        self._drawn: dict[tuple[str, bool], int] = defaultdict(int)

    def add(self, batch: Batch, output: Any, labelled: bool) -> None:
        """Takes one batch and waits for the device; `labelled` says whether masks are known."""
        self.failures += [(failure.name, failure.message) for failure in batch.failures]
        if output is None:
            return
        with self.steps.timed("device"):
            output = jax.device_get(output._replace(rough_map=None))
        for row, record in enumerate(batch.records):
            height, width = (int(value) for value in batch.sizes[row])
            try:
                with self.steps.timed("decode"):
                    truth = _truth(record, height, width) if labelled else None
                self._add_photo(
                    record,
                    batch.canvas[row, :height, :width],
                    output.anomaly_map[row, :height, :width],
                    truth,
                    float(output.image_score[row]),
                    _prompts_of(output, row),
                )
            except (ImageError, MetricsError) as error:
                self.failures.append((record["name"], str(error)))

    def _add_photo(
        self,
        record: Record,
        photo: UInt8[np.ndarray, "h w 3"],
        anomaly_map: Float[np.ndarray, "h w"],
        truth: Bool[np.ndarray, "h w"] | None,
        score: float,
        prompts: Prompts | None,
    ) -> None:
        name, category = record["name"], record["category"]
        label = int(record["label"])
        if not (np.isfinite(anomaly_map).all() and np.isfinite(score)):
            raise MetricsError(f"the network's map of {name} is not finite: its weights are faulty")
        with self.steps.timed("metrics"):
            metrics = self._metrics[category]
            if truth is not None:
                metrics.add_pixels(*self._at_resolution(anomaly_map, truth))
            if label >= 0:
                metrics.add_image(score, label)
        mask = anomaly_map >= self.config.mask_threshold
        verdict = VERDICTS[score >= self.config.image_threshold]
        known = VERDICTS[label] if label >= 0 else ""
        self.rows.append((name, category, known, score, verdict, float(mask.mean())))
        with self.steps.timed("write"):
            if self.save_maps:
                files.save_map_png16(self.directory / "maps" / f"{name}.png", anomaly_map)
                files.save_mask_png(self.directory / "masks" / f"{name}.png", mask)
            if self._wants_overlay(category, label > 0):
                path = self.directory / "overlays" / f"{name}.jpg"
                save_overlay(
                    path,
                    np.ascontiguousarray(photo),
                    anomaly_map,
                    mask,
                    truth=truth,
                    prompts=prompts,
                    verdict=f"{verdict} {score:.2f}",
                )
                self.overlays.append(path)

    def _at_resolution(
        self, anomaly_map: np.ndarray, truth: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.resolution == NATIVE:
            return anomaly_map, truth
        side = int(self.resolution)
        return resize_map(anomaly_map, side, side), resize_mask(truth, side, side)

    def _wants_overlay(self, category: str, anomalous: bool) -> bool:
        """A third of the pictures shows good parts."""
        if self.overlays_per_category is None:
            return True
        good = self.overlays_per_category // 3
        allowed = self.overlays_per_category - good if anomalous else good
        self._drawn[category, anomalous] += 1
        return self._drawn[category, anomalous] <= allowed

    def summary(self) -> dict[str, Any]:
        """The parts of metrics.json that say how good the maps are."""
        found = {name: self._metrics[name].result() for name in sorted(self._metrics)}
        mean, mean_reasons = mean_result(found.values())
        reasons = {name: result["reasons"] for name, result in found.items() if result["reasons"]}
        return {
            "categories": {
                name: {metric: result[metric] for metric in METRICS}
                for name, result in found.items()
            },
            "mean": mean,
            "reasons": reasons | ({"mean": mean_reasons} if mean_reasons else {}),
            "thresholds": {
                name: {key: value for key, value in result.items() if key.endswith("threshold")}
                for name, result in found.items()
            },
        }


def _truth(record: Record, height: int, width: int) -> Bool[np.ndarray, "h w"]:
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


def _prompts_of(output: Any, row: int) -> Prompts | None:
    """The valid prompts of one photo, where the method has any."""
    if output.points is None:
        return None
    regions = output.region_valid[row]
    valid = output.point_valid[row] & regions[:, None]
    return Prompts(
        output.points[row][valid], output.point_labels[row][valid], output.boxes[row][regions]
    )
