"""Takes finished photos one by one: counts, rows of tables, pictures and files."""

import contextlib
import errno
import os
import pathlib
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Float16, UInt8
from PIL import Image

from zsas_jax.config import PipelineConfig
from zsas_jax.data.images import decode_mask
from zsas_jax.data.loader import Batch
from zsas_jax.data.sources import Record
from zsas_jax.errors import ImageError
from zsas_jax.files import atomic_path
from zsas_jax.metrics import (
    METRICS,
    MetricOptions,
    MetricsError,
    StreamingMetrics,
    intervals,
    mean_replicates,
    mean_result,
)
from zsas_jax.metrics.resolution import NATIVE, Resolution, resize_map, resize_mask
from zsas_jax.report import files
from zsas_jax.report.overlays import Prompts, save_overlay
from zsas_jax.report.pictures import Photo
from zsas_jax.report.results import SMALL_MAPS

VERDICTS = ("good", "anomalous")
EXTRA_METRICS = ("region_f1", "boundary_f1", "pixel_pro_200")
DEFAULT_OPTIONS = MetricOptions(by_defect_type=True)
SMALL = 48  # side of the small maps by which two runs are compared
# Of a photo's name that is too long for a result, or that another result has taken.
_BAD_NAME = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


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
        small_maps: Float16[np.ndarray, "n side side"] | None = None,
        options: MetricOptions = DEFAULT_OPTIONS,
    ):
        self.small_maps, self.options = small_maps, options
        self.directory, self.config, self.resolution = directory, config, resolution
        self.overlays_per_category, self.save_maps = overlays_per_category, save_maps
        self.steps = Steps()
        self.photos: list[Photo] = []
        self._failed: dict[str, str] = {}  # of those done
        self._unread: dict[str, str] = {}
        self.overlays: list[str] = []  # below overlays/
        self.done: list[int] = []  # positions in the source
        self.full_canvases: set[int] = set()
        self.seconds = 0.0
        self.metrics: dict[str, StreamingMetrics] = {}
        self._drawn: dict[str, int] = defaultdict(int)

    @property
    def failures(self) -> dict[str, str]:
        """One sentence for each photo that could not be read or counted, by name."""
        return self._unread | self._failed

    def add(self, batch: Batch, output: Any, labelled: bool) -> None:
        """Takes one batch and waits for the device; `labelled` says whether masks are known."""
        self._unread |= {failure.name: failure.message for failure in batch.failures}
        if output is None:
            return
        with self.steps.timed("device"):
            output = jax.device_get(output._replace(rough_map=None, mask_logits=None, iou=None))
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
                    output.anomaly_map[row, :height, :width],
                    truth,
                    float(output.image_score[row]),
                    prompts_of(output, row),
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
        prompts: Prompts | None,
    ) -> None:
        name, category = record["name"], record["category"]
        label = int(record["label"])
        if not (np.isfinite(anomaly_map).all() and np.isfinite(score)):
            raise MetricsError(f"the network's map of {name} is not finite: its weights are faulty")
        mask = anomaly_map >= self.config.mask_threshold
        verdict = VERDICTS[score >= self.config.image_threshold]
        # Written before it counts: what cannot be written is a failure.
        with self.steps.timed("write"):
            if self.small_maps is not None:
                self.small_maps[index] = small_map(anomaly_map)
            if self.save_maps:
                files.save_map_png16(self.directory / "maps" / f"{name}.png", anomaly_map)
                files.save_mask_png(self.directory / "masks" / f"{name}.png", mask)
            if self._wants_overlay(category, label > 0):
                save_overlay(
                    self.directory / "overlays" / f"{name}.jpg",
                    np.ascontiguousarray(photo),
                    anomaly_map,
                    mask,
                    truth=truth,
                    prompts=prompts,
                    verdict=f"{verdict} {score:.2f}",
                )
                self.overlays.append(f"{name}.jpg")
        with self.steps.timed("metrics"):
            ap = self._count(record, anomaly_map, truth, score)
        area = float(mask.mean())
        self.photos.append(
            Photo(index, name, category, record["defect"], label, score, verdict, area, ap)
        )

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
        if self.overlays_per_category is None:
            return True
        good = self.overlays_per_category // 3
        allowed = self.overlays_per_category - good if anomalous else good
        kind = f"{category}/{anomalous}"
        self._drawn[kind] += 1
        return self._drawn[kind] <= allowed

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
        extra = [name for name in EXTRA_METRICS if any(name in result for result in found.values())]
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
            "overlays": self.overlays,
            "drawn": self._drawn,
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
        self.overlays = facts["overlays"]
        self._drawn.update(facts["drawn"])
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


def open_small_maps(directory: pathlib.Path, count: int) -> Float16[np.ndarray, "n side side"]:
    """small_maps.npy of a run, one map for each position in the source, on disk; NaN: none yet."""
    path, shape = directory / SMALL_MAPS, (count, SMALL, SMALL)
    try:
        found = np.load(path, mmap_mode="r+")
        if found.shape == shape and found.dtype == np.float16:
            return found
    except (OSError, ValueError):
        pass
    # Written, not mapped: a full disk is an error here, but the end of a process that fills a map.
    empty = np.full(shape[1:], np.nan, np.float16)
    with atomic_path(path) as part, part.open("wb") as file:
        header = {"descr": empty.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(count):
            file.write(empty.tobytes())
    return np.load(path, mmap_mode="r+")


def small_map(anomaly_map: Float[np.ndarray, "h w"]) -> Float16[np.ndarray, "side side"]:
    """Means of `SMALL` x `SMALL` tiles."""
    picture = Image.fromarray(anomaly_map.astype(np.float32, copy=False))
    return np.asarray(picture.resize((SMALL, SMALL), Image.Resampling.BOX), np.float16)


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


def prompts_of(output: Any, row: int) -> Prompts | None:
    """The valid prompts of one photo, where the method has any."""
    if output.points is None:
        return None
    regions = output.region_valid[row]
    valid = output.point_valid[row] & regions[:, None]
    boxes = np.zeros((0, 4), np.float32) if output.boxes is None else output.boxes[row][regions]
    return Prompts(output.points[row][valid], output.point_labels[row][valid], boxes)
