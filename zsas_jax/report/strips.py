"""Draws the pictures that a report shows, panel by panel, into the results' `strips/`."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from zsas_jax.data.loader import Batch
from zsas_jax.errors import ImageError
from zsas_jax.files import atomic_path
from zsas_jax.report.collector import Collector, prompts_of, read_truth
from zsas_jax.report.pictures import Chosen, jpeg, low_resolution_masks, panels
from zsas_jax.sam import frame_size

FOLDER = "strips"


class StripWriter:
    """Takes batches that hold the chosen photos; their order does not matter."""

    def __init__(self, collector: Collector, chosen: Sequence[Chosen], sam_config: Any = None):
        self._collector, self._sam_config = collector, sam_config
        self._chosen = {item.photo.index: item for item in chosen}
        self._order = [item.photo.index for item in chosen]
        self._strips: dict[int, dict[str, Any]] = {}

    @property
    def indices(self) -> list[int]:
        """Positions in the source of the photos that are needed."""
        return sorted(self._chosen)

    def add(self, batch: Batch, output: Any, labelled: bool) -> None:
        """Draws the photos of one batch."""
        if output is None:
            return
        output = jax.device_get(output)
        for row, record in enumerate(batch.records):
            chosen = self._chosen[int(batch.indices[row])]
            try:
                self._draw(chosen, batch, output, row, record if labelled else None)
            except ImageError:  # A mask that became unreadable since; the metrics have it.
                continue

    def strips(self) -> list[dict[str, Any]]:
        """What was drawn, in the order chosen, as JSON types."""
        return [self._strips[index] for index in self._order if index in self._strips]

    def _draw(self, chosen: Chosen, batch: Batch, output: Any, row: int, record: Any) -> None:
        height, width = (int(value) for value in batch.sizes[row])
        anomaly_map = output.anomaly_map[row, :height, :width]
        prompts, region_masks = prompts_of(output, row), None
        if prompts is not None and self._sam_config and output.mask_logits is not None:
            side = self._sam_config.image_size
            frame = frame_size(height, width, side)
            valid = output.region_valid[row]
            region_masks = low_resolution_masks(
                output.mask_logits[row][valid],
                output.iou[row][valid],
                (int(frame[0]) / side, int(frame[1]) / side),
                (height, width),
            )
        drawn = panels(
            np.ascontiguousarray(batch.canvas[row, :height, :width]),
            anomaly_map,
            output.rough_map[row, :height, :width],
            anomaly_map >= self._collector.config.mask_threshold,
            truth=None if record is None else read_truth(record, height, width),
            prompts=prompts,
            region_masks=region_masks,
        )
        photo = chosen.photo
        folder = pathlib.Path(FOLDER) / f"{photo.index:06d}"
        written = []
        for number, (caption, picture) in enumerate(drawn):
            name = (folder / f"{number}.jpg").as_posix()
            with atomic_path(self._collector.directory / name) as part:
                part.write_bytes(jpeg(picture))
            written.append({"caption": caption, "file": name, "size": picture.size})
        self._strips[photo.index] = {
            "kind": chosen.kind,
            **photo._asdict(),
            "highest": float(anomaly_map.max()),
            "panels": written,
        }
