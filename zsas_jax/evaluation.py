"""One method on one data set: maps, scores, pictures and exact metrics, in one pass.

While the device computes a batch, threads decode the next ones and this thread counts, draws and
writes the previous one. What is done is noted in a journal, from which an interrupted run goes on.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from zsas_jax.config import PipelineConfig, to_dict
from zsas_jax.data import loader
from zsas_jax.data.canvas import batch_size_for
from zsas_jax.errors import ConfigError, DatasetError
from zsas_jax.files import sole_writer
from zsas_jax.metrics import MetricOptions
from zsas_jax.metrics.resolution import DEFAULT_RESOLUTION, Resolution
from zsas_jax.ops.layers import cast_parameters
from zsas_jax.parallel import data_parallel, local_devices
from zsas_jax.prompting.text import Prompts, encode_text
from zsas_jax.report import details as report_details
from zsas_jax.report import results
from zsas_jax.report.collector import DEFAULT_OPTIONS, Collector, Steps, open_small_maps
from zsas_jax.report.journal import INTERVAL, Journal, run_key
from zsas_jax.report.pictures import choose
from zsas_jax.report.strips import StripWriter


class EvaluationResult(NamedTuple):
    """Where the results lie, and what metrics.json holds."""

    directory: pathlib.Path
    metrics: dict[str, Any]
    scores: list[tuple]  # rows of scores.csv
    failures: list[tuple[str, str]]  # rows of failed.csv
    overlays: list[pathlib.Path]
    steps: dict[str, float]  # seconds, by step
    reused: int = 0  # photos taken over from a run before

    @property
    def has_metrics(self) -> bool:
        """Whether any metric is defined."""
        return any(value is not None for value in self.metrics["mean"].values())


def evaluate(
    bundle: Any,
    source: Any,
    *,
    dataset: str,
    config: PipelineConfig | None = None,
    output_dir: str | pathlib.Path = "results",
    batch_size: int = 8,
    devices: int | None = None,
    seed: int = 0,
    threshold: float | None = None,
    resolution: Resolution = DEFAULT_RESOLUTION,
    metric_options: MetricOptions = DEFAULT_OPTIONS,
    limit: int | None = None,
    prompts: Prompts | None = None,
    overlays_per_category: int | None = 3,
    strips_per_category: int = 1,
    save_maps: bool = False,
    overwrite: bool = False,
    fingerprint: str | None = None,
    journal_seconds: float = INTERVAL,
    progress: bool = True,
    warnings: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
) -> EvaluationResult:
    """Runs `segment` over a data source and writes `<output_dir>/<dataset>/<method>/`.

    Args:
        bundle: the networks, as `zsas_jax.load` returns them.
        source: random-access records; those that cannot be read are reported and skipped.
        dataset: the name of the results' directory.
        config: the pipeline's settings; None takes the checkpoint's.
        batch_size: photos in one program on each device; large photos are taken fewer at a time.
        devices: how many of this process's devices share a batch; None takes all.
        seed: seed of the random points of `clipsam`, together with each photo's content.
        threshold: image score at or above which a photo is called anomalous; None takes the
            config's.
        resolution: side in pixels to which maps and masks are stretched for the pixel metrics, or
            "native".
        metric_options: rows by defect type, confidence intervals, further metrics.
        limit: the number of photos, spread evenly over the source; None takes all.
        prompts: a user's own states, templates and words.
        overlays_per_category: pictures, anomalous ones first; None draws all.
        strips_per_category: the report's best, median and worst pictures, so many of each; their
            maps are computed once more at the end. 0 leaves them out.
        save_maps: write maps/ and masks/ at each photo's own size.
        overwrite: replace results of another configuration, and compute everything anew.
        fingerprint: names the data and the weights, as a hash of them does. With it, results of
            the same fingerprint, settings and program are taken over: finished ones as they are,
            interrupted ones up to where they came. None computes everything anew.
        journal_seconds: between two notes of what is done; 0 notes every batch.
        progress: show a progress bar.
        warnings: what readers of the report must know.
        details: more facts for the results' config (checkpoint, data directory ...).

    Raises:
        DatasetError: an empty source. ConfigError: a setting out of range, an output directory
            that cannot be written, holds other results or is being written by another process.
    """
    chosen: PipelineConfig = bundle.config.pipeline if config is None else config
    if threshold is not None:
        chosen = dataclasses.replace(chosen, image_threshold=threshold)
    prompts = prompts or Prompts()
    for name, value in (("batch_size", batch_size), ("limit", limit)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}: expected at least 1")
    if not len(source):
        raise DatasetError(f"data set {dataset!r} holds no photos: expected at least one")
    if not bundle.config.clip:
        raise ConfigError("the checkpoint has no CLIP: expected one with clip, umci and sam")
    settings = {
        "dataset": dataset,
        "method": chosen.method,
        **(details or {}),
        "seed": seed,
        "limit": limit,
        "resolution": resolution,
        "metrics": to_dict(metric_options),
        "prompts": prompts._asdict(),
        "pipeline": to_dict(chosen),
    }
    chips = local_devices(devices)
    outputs = [overlays_per_category, strips_per_category, save_maps]
    key = run_key(settings, data=fingerprint, photos=len(source), outputs=outputs)
    directory = pathlib.Path(output_dir) / dataset / chosen.method
    journal = Journal(directory, key, journal_seconds)
    resume = fingerprint is not None and not overwrite
    results.check_directory(directory, settings, overwrite=overwrite)
    if resume and results.finished_key(directory) == key:
        return _stored(directory)
    with sole_writer(directory):
        noted = journal.load() if resume else None
        results.claim_directory(directory, settings, keep=noted is not None)

        collector = Collector(
            directory,
            chosen,
            resolution,
            overlays_per_category,
            save_maps,
            open_small_maps(directory, len(source)),
            metric_options,
        )
        if noted is not None:
            collector.restore(*noted)
        reused = len(collector.done)
        run = _Run(bundle, source, chosen, prompts, batch_size, seed, chips, collector.steps)
        indices = _spread(len(source), limit)
        done = set(collector.done)
        remaining = [index for index in indices if index not in done]
        with tqdm(total=len(indices), initial=reused, unit="image", disable=not progress) as bar:
            started = time.perf_counter() - collector.seconds
            for batch, output in run.batches(remaining, compiled=collector.full_canvases):
                collector.add(batch, output, source.has_masks)
                if len(batch.records) == run.full_size(batch.canvas.shape[1]):
                    collector.full_canvases.add(batch.canvas.shape[1])
                collector.seconds = time.perf_counter() - started
                if journal.is_due():
                    journal.save(*collector.state())
                bar.update(len(batch.records) + len(batch.failures))
        if remaining:
            journal.save(*collector.state())

        with collector.steps.timed("metrics"):
            scored = collector.summary()
        timing = _timing(collector, batch_size, len(chips))
        with collector.steps.timed("pictures"):
            strips = _draw_strips(run, collector, strips_per_category)
        timing["steps_seconds"] = dict(collector.steps)
        metrics = {
            **scored,
            "warnings": list(warnings),
            "config": settings,
            "versions": results.versions(),
            "timing": timing,
        }
        results.save_results(directory, collector, metrics)
        report_details.save(directory, key, collector, strips)
        journal.remove()
        return _result(directory, collector, metrics, reused)


def _draw_strips(run: "_Run", collector: Collector, per_category: int) -> list[dict[str, Any]]:
    """The report's pictures; their photos go through the pipeline again."""
    if per_category < 1:
        return []
    run.steps = Steps()  # Their time is not that of the evaluation.
    # Not before: which programs there are depends on where a run was interrupted.
    run.reuse_programs = True
    writer = StripWriter(collector, choose(collector.photos, per_category), run.bundle.config.sam)
    for batch, output in run.batches(writer.indices, compiled=collector.full_canvases):
        writer.add(batch, output, run.source.has_masks)
    return writer.strips()


def _timing(collector: Collector, batch_size: int, devices: int) -> dict[str, Any]:
    computing = collector.seconds - collector.steps["compile"] - collector.steps["text"]
    return {
        "images": len(collector.photos),
        "images_per_second": len(collector.photos) / max(computing, 1e-9),
        "compile_seconds": collector.steps["compile"],
        "total_seconds": collector.seconds,
        "batch_size": batch_size,
        "devices": devices,
    }


def _result(
    directory: pathlib.Path, collector: Collector, metrics: dict[str, Any], reused: int
) -> EvaluationResult:
    return EvaluationResult(
        directory,
        metrics,
        collector.rows(),
        sorted(collector.failures.items()),
        sorted(directory / "overlays" / name for name in collector.overlays),
        dict(collector.steps),
        reused,
    )


def _stored(directory: pathlib.Path) -> EvaluationResult:
    """The results of a finished run."""
    metrics, scores, failures = results.load_results(directory)
    return EvaluationResult(
        directory,
        metrics,
        scores,
        failures,
        sorted(path for path in (directory / "overlays").rglob("*.jpg")),
        metrics["timing"]["steps_seconds"],
        len(scores),
    )


def _spread(count: int, limit: int | None) -> list[int]:
    """`limit` indices spread evenly, so that every category has its share."""
    if limit is None or limit >= count:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * limit) for i in range(limit)]


class _Run:
    """What turns positions in the source into batches with their output."""

    def __init__(
        self,
        bundle: Any,
        source: Any,
        config: PipelineConfig,
        prompts: Prompts,
        batch_size: int,
        seed: int,
        devices: Sequence[Any],
        steps: Steps,
    ):
        self.bundle, self.source, self.prompts, self.steps = bundle, source, prompts, steps
        self.batch_size, self.seed, self.devices = batch_size, seed, devices
        # The pictures show prompts and masks.
        self.config = dataclasses.replace(config, return_prompts=True, return_masks=True)
        self._segment: Callable[..., Any] | None = None
        self._features: dict[str, Float[np.ndarray, "2 d"]] = {}
        self._shapes: set[tuple[int, ...]] = set()
        self.reuse_programs = False

    def full_size(self, canvas: int) -> int:
        """Photos of a whole batch."""
        return len(self.devices) * batch_size_for(canvas, self.batch_size)

    def batches(
        self, indices: Sequence[int], compiled: Any = ()
    ) -> Iterator[tuple[loader.Batch, Any]]:
        """Yields each batch when the next one is already on its way to the device.

        The output of a batch without photos is None.
        """
        if not len(indices):
            return
        if self._segment is None:
            with self.steps.timed("text"):
                self._features = _text_features(self.bundle, self.source.categories, self.prompts)
            model = cast_parameters(self.bundle.model, self.config.compute_dtype)
            self._segment = data_parallel(model, self.devices)
        batches = iter(
            loader.iterate_batches(
                self.source,
                indices,
                self.batch_size,
                self.seed,
                devices=len(self.devices),
                compiled=tuple(compiled),
            )
        )
        waiting = None
        while True:
            with self.steps.timed("decode"):
                batch = next(batches, None)
            output = None
            if batch is not None and batch.records:
                output = self._dispatch(batch)
            if waiting is not None:
                yield waiting
            if batch is None:
                return
            waiting = batch, output

    def _dispatch(self, batch: loader.Batch) -> Any:
        categories = [record["category"] for record in batch.records]
        categories += categories[:1] * (len(batch.valid) - len(categories))  # padding
        text = np.stack([self._features[name] for name in categories])
        arrays = (batch.canvas, batch.sizes, text, batch.keys)
        if self.reuse_programs:
            arrays = self._padded(arrays)
        # A new canvas is a new program; otherwise the call returns at once.
        step = "device" if arrays[0].shape in self._shapes else "compile"
        self._shapes.add(arrays[0].shape)
        assert self._segment is not None
        with self.steps.timed(step):
            return self._segment(*arrays, config=self.config)

    def _padded(self, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
        """The batch filled up to the size of a program that is compiled already, if there is one.

        What is computed of the additional rows is not looked at.
        """
        count, *canvas = arrays[0].shape
        sizes = [size for size, *other in self._shapes if other == canvas and size >= count]
        if not sizes:
            return arrays
        return tuple(np.resize(array, (min(sizes), *array.shape[1:])) for array in arrays)


def _text_features(
    bundle: Any, categories: Sequence[str], prompts: Prompts
) -> dict[str, Float[np.ndarray, "2 d"]]:
    features = encode_text(
        bundle.model.clip,
        bundle.tokenizer,
        list(categories),
        normal_states=prompts.normal_states,
        abnormal_states=prompts.abnormal_states,
        templates=prompts.templates,
        category_words=prompts.words,
    )
    return dict(zip(categories, np.asarray(features), strict=True))
