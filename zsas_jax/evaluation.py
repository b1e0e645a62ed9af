"""One method on one data set: maps, scores, pictures and exact metrics, in one pass.

While the device computes a batch, threads decode the next ones and this thread counts, draws and
writes the previous one.
"""

import dataclasses
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from zsas_jax import pipeline
from zsas_jax.config import PipelineConfig, to_dict
from zsas_jax.data import loader
from zsas_jax.errors import ConfigError, DatasetError
from zsas_jax.metrics.resolution import DEFAULT_RESOLUTION, Resolution
from zsas_jax.prompting.text import Prompts, encode_text
from zsas_jax.report import files, results
from zsas_jax.report.collector import Collector, Steps

SCORES_HEADER = ("path", "category", "label", "image_score", "verdict", "anomalous_area")
FAILED_HEADER = ("path", "reason")


class EvaluationResult(NamedTuple):
    """Where the results lie, and what metrics.json holds."""

    directory: pathlib.Path
    metrics: dict[str, Any]
    scores: list[tuple]  # rows of scores.csv
    failures: list[tuple[str, str]]  # rows of failed.csv
    overlays: list[pathlib.Path]
    steps: dict[str, float]  # seconds, by step

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
    seed: int = 0,
    threshold: float | None = None,
    resolution: Resolution = DEFAULT_RESOLUTION,
    limit: int | None = None,
    prompts: Prompts | None = None,
    overlays_per_category: int | None = 3,
    save_maps: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    details: Mapping[str, Any] | None = None,
) -> EvaluationResult:
    """Runs `segment` over a data source and writes `<output_dir>/<dataset>/<method>/`.

    Args:
        bundle: the networks, as `zsas_jax.load` returns them.
        source: random-access records; those that cannot be read are reported and skipped.
        dataset: the name of the results' directory.
        config: the pipeline's settings; None takes the checkpoint's.
        batch_size: photos in one program; large photos are taken fewer at a time.
        seed: seed of the random points of `clipsam`, together with each photo's content.
        threshold: image score at or above which a photo is called anomalous; None takes the
            config's.
        resolution: side in pixels to which maps and masks are stretched for the pixel metrics, or
            "native".
        limit: the number of photos, spread evenly over the source; None takes all.
        prompts: a user's own states, templates and words.
        overlays_per_category: pictures, anomalous ones first; None draws all.
        save_maps: write maps/ and masks/ at each photo's own size.
        overwrite: replace results of another configuration.
        progress: show a progress bar.
        details: more facts for the results' config (checkpoint, data directory ...).

    Raises:
        DatasetError: an empty source. ConfigError: a setting out of range, an output directory
            that cannot be written or holds other results.
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
        "prompts": prompts._asdict(),
        "pipeline": to_dict(chosen),
    }
    directory = results.claim_directory(
        pathlib.Path(output_dir) / dataset / chosen.method, settings, overwrite=overwrite
    )

    collector = Collector(directory, chosen, resolution, overlays_per_category, save_maps)
    indices = _spread(len(source), limit)
    with tqdm(total=len(indices), unit="image", disable=not progress) as bar:
        started = time.perf_counter()
        for batch, output in _segmented(
            bundle, source, indices, chosen, prompts, batch_size, seed, collector.steps
        ):
            collector.add(batch, output, source.has_masks)
            bar.update(len(batch.records) + len(batch.failures))
        seconds = time.perf_counter() - started

    with collector.steps.timed("metrics"):
        scored = collector.summary()
    computing = seconds - collector.steps["compile"] - collector.steps["text"]
    timing = {
        "images": len(collector.rows),
        "images_per_second": len(collector.rows) / max(computing, 1e-9),
        "compile_seconds": collector.steps["compile"],
        "total_seconds": seconds,
        "batch_size": batch_size,
        "steps_seconds": dict(collector.steps),
    }
    metrics = {**scored, "config": settings, "versions": results.versions(), "timing": timing}
    files.save_csv(directory / "scores.csv", SCORES_HEADER, sorted(collector.rows))
    if collector.failures:
        files.save_csv(directory / "failed.csv", FAILED_HEADER, sorted(collector.failures))
    files.save_json(directory / "metrics.json", metrics)
    return EvaluationResult(
        directory,
        metrics,
        sorted(collector.rows),
        sorted(collector.failures),
        sorted(collector.overlays),
        dict(collector.steps),
    )


def _spread(count: int, limit: int | None) -> list[int]:
    """`limit` indices spread evenly, so that every category has its share."""
    if limit is None or limit >= count:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * limit) for i in range(limit)]


def _segmented(
    bundle: Any,
    source: Any,
    indices: Sequence[int],
    config: PipelineConfig,
    prompts: Prompts,
    batch_size: int,
    seed: int,
    steps: Steps,
) -> Iterator[tuple[loader.Batch, Any]]:
    """Yields each batch when the next one is already on its way to the device.

    The output of a batch without photos is None.
    """
    with steps.timed("text"):
        features = _text_features(bundle, source.categories, prompts)
    # The overlays show the prompts.
    config = dataclasses.replace(config, return_prompts=True)
    shapes: set[tuple[int, ...]] = set()
    batches = iter(loader.iterate_batches(source, indices, batch_size, seed))
    waiting = None
    while True:
        with steps.timed("decode"):
            batch = next(batches, None)
        output = None
        if batch is not None and batch.records:
            categories = [record["category"] for record in batch.records]
            categories += categories[:1] * (len(batch.valid) - len(categories))  # padding
            text = np.stack([features[name] for name in categories])
            # A new canvas is a new program; otherwise the call returns at once.
            step = "device" if batch.canvas.shape in shapes else "compile"
            shapes.add(batch.canvas.shape)
            with steps.timed(step):
                output = pipeline.segment(
                    bundle.model, batch.canvas, batch.sizes, text, batch.keys, config=config
                )
        if waiting is not None:
            yield waiting
        if batch is None:
            return
        waiting = batch, output


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
