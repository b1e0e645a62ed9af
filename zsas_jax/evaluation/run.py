"""One method on one data set: maps, scores, pictures and exact metrics, in one pass.

While the device computes a batch, threads decode the next ones and this thread counts, draws and
writes the previous one. What is done is noted in a journal, from which an interrupted run goes on.
"""

import pathlib
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from tqdm import tqdm

from zsas_jax.checkpoints.bundle import Bundle, Compute, Verdict
from zsas_jax.config import to_dict
from zsas_jax.data.sources import AnomalySource
from zsas_jax.errors import ConfigError, DatasetError
from zsas_jax.evaluation import results
from zsas_jax.evaluation.batches import Batches, Chosen, choose
from zsas_jax.evaluation.details import details_of
from zsas_jax.evaluation.maps import open_small_maps
from zsas_jax.evaluation.measure import Collector
from zsas_jax.evaluation.options import Origin, Outputs, Pace
from zsas_jax.evaluation.resume import Journal, run_key
from zsas_jax.evaluation.strips import Strips
from zsas_jax.files import sole_writer
from zsas_jax.methods.base import Request
from zsas_jax.metrics import MetricOptions
from zsas_jax.metrics.resolution import DEFAULT_RESOLUTION, Resolution
from zsas_jax.parallel import local_devices

DEFAULT_OPTIONS = MetricOptions(by_defect_type=True)


class EvaluationResult(NamedTuple):
    """Where the results lie, and what metrics.json, scores.csv and failed.csv hold."""

    directory: pathlib.Path
    metrics: dict[str, Any]
    scores: list[tuple]
    failures: list[tuple[str, str]]
    reused: int = 0
    """Photos taken over from a run before."""

    @property
    def has_metrics(self) -> bool:
        """Whether any metric is defined."""
        return any(value is not None for value in self.metrics["mean"].values())


def evaluate(
    bundle: Bundle,
    source: AnomalySource,
    *,
    dataset: str,
    method: str | None = None,
    config: Any = None,
    verdict: Verdict | None = None,
    compute: Compute | None = None,
    request: Request = Request(),
    seed: int = 0,
    limit: int | None = None,
    resolution: Resolution = DEFAULT_RESOLUTION,
    metric_options: MetricOptions = DEFAULT_OPTIONS,
    outputs: Outputs = Outputs(),
    pace: Pace = Pace(),
    origin: Origin = Origin(),
    output_dir: str | pathlib.Path = "results",
    overwrite: bool = False,
) -> EvaluationResult:
    """Runs a method over a data source and writes `<output_dir>/<dataset>/<method>/`.

    Args:
        bundle: the networks, as `zsas_jax.load` returns them.
        source: random-access records; those that cannot be read are reported and skipped.
        dataset: the name of the results' directory.
        method, config, verdict, compute: the method, its settings, the thresholds of verdicts and
            how to compute; None takes the checkpoint's.
        request: a user's own prompts, examples and language model.
        seed: seed of random points, together with each photo's content.
        limit: the number of photos, spread evenly over the source; None takes all.
        resolution: side in pixels to which maps and masks are stretched for the pixel metrics, or
            "native".
        metric_options: rows by defect type, confidence intervals, further metrics.
        overwrite: replace results of another configuration, and compute everything anew.

    Raises:
        DatasetError: an empty source. ConfigError: a setting out of range, a network that the
            checkpoint lacks, an output directory that cannot be written, holds other results or is
            being written by another process.
    """
    chosen = choose(bundle, method, config, verdict, compute, request)
    if limit is not None and limit < 1:
        raise ConfigError(f"limit is {limit}: expected at least 1")
    if not len(source):
        raise DatasetError(f"data set {dataset!r} holds no photos: expected at least one")
    devices = local_devices(pace.devices)
    settings = {
        "dataset": dataset,
        "method": chosen.method,
        **origin.details,
        "seed": seed,
        "limit": limit,
        "resolution": resolution,
        "metrics": to_dict(metric_options),
        **_facts(chosen),
    }
    key = run_key(settings, data=origin.fingerprint, photos=len(source), outputs=to_dict(outputs))
    directory = pathlib.Path(output_dir) / dataset / chosen.method
    resume = origin.fingerprint is not None and not overwrite
    results.check_directory(directory, settings, overwrite=overwrite)
    if resume and results.finished_key(directory) == key:
        return _stored(directory)
    with sole_writer(directory):
        journal = Journal(directory, key, pace.journal_seconds)
        noted = journal.load() if resume else None
        results.claim_directory(directory, settings, keep=noted is not None)
        strips = Strips(directory, source.categories, outputs.pictures)
        maps = open_small_maps(directory, len(source))
        collector = Collector(
            directory, chosen.verdict, resolution, metric_options, outputs, strips, maps
        )
        if noted is not None:
            collector.restore(*noted)
        reused = len(collector.done)
        batches = Batches(bundle, source, chosen, pace.batch_size, seed, devices, collector.steps)
        _collect(collector, batches, source, limit, journal, pace.progress)
        metrics = _measured(collector, settings, origin, pace.batch_size, len(devices))
        results.save_results(
            directory,
            metrics,
            collector.rows(),
            sorted(collector.failures.items()),
            details_of(collector, key),
        )
        journal.remove()
    return _stored(directory, reused)


def _facts(chosen: Chosen) -> dict[str, Any]:
    """What a method was run with, as JSON types."""
    return {
        "prompts": chosen.request.prompts._asdict(),
        "examples": chosen.request.examples is not None,
        "language": chosen.request.language is not None,
        "settings": to_dict(chosen.config),
        "verdict": to_dict(chosen.verdict),
        "compute": to_dict(chosen.compute),
    }


def _collect(
    collector: Collector,
    batches: Batches,
    source: AnomalySource,
    limit: int | None,
    journal: Journal,
    progress: bool,
) -> None:
    """Everything that is not done yet, batch by batch."""
    indices, done = _spread(len(source), limit), set(collector.done)
    remaining = [index for index in indices if index not in done]
    if not remaining:
        return
    started = time.perf_counter() - collector.seconds

    def note() -> None:
        journal.save(*collector.state())
        collector.strips.sweep()

    with tqdm(total=len(indices), initial=len(done), unit="image", disable=not progress) as bar:
        for batch, maps in batches.iterate(remaining, compiled=collector.full_canvases):
            collector.add(batch, maps, source.has_masks)
            canvas = batch.canvas.shape[1]
            if len(batch.records) == batches.full_size(canvas):
                collector.full_canvases.add(canvas)
            collector.seconds = time.perf_counter() - started
            if journal.is_due():
                note()
            bar.update(len(batch.records) + len(batch.failures))
    note()


def _measured(
    collector: Collector, settings: Mapping[str, Any], origin: Origin, batch_size: int, devices: int
) -> dict[str, Any]:
    """What metrics.json holds."""
    with collector.steps.timed("metrics"):
        scored = collector.summary()
    computing = collector.seconds - collector.steps["compile"] - collector.steps["prepare"]
    return {
        **scored,
        "warnings": list(origin.warnings),
        "config": settings,
        "versions": results.versions(),
        "timing": {
            "images": len(collector.photos),
            "images_per_second": len(collector.photos) / max(computing, 1e-9),
            "compile_seconds": collector.steps["compile"],
            "total_seconds": collector.seconds,
            "batch_size": batch_size,
            "devices": devices,
            "steps_seconds": dict(collector.steps),
        },
    }


def _stored(directory: pathlib.Path, reused: int | None = None) -> EvaluationResult:
    """The results of a finished run; by default all of them are taken over."""
    metrics, scores, failures = results.load_results(directory)
    return EvaluationResult(
        directory, metrics, scores, failures, len(scores) if reused is None else reused
    )


def _spread(count: int, limit: int | None) -> list[int]:
    """`limit` indices spread evenly, so that every category has its share."""
    if limit is None or limit >= count:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * limit) for i in range(limit)]
