"""What evaluate.py does with its arguments: evaluate, calibrate, compare, report."""

import dataclasses
import hashlib
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zsas_jax.cli.common import naming
from zsas_jax.cli.evaluate import FOLDER, EvaluateArguments, results_name
from zsas_jax.errors import ConfigError

if TYPE_CHECKING:
    from zsas_jax.checkpoints.checkpoint import Bundle
    from zsas_jax.config import PipelineConfig
    from zsas_jax.evaluation.run import EvaluationResult

_TRAINED_ON = ("trained_on", "training_data", "training_datasets", "dataset", "datasets")


def open_source(args: EvaluateArguments) -> Any:
    """The data source that the arguments name."""
    from zsas_jax.data.registry import open_dataset

    return open_dataset(
        args.dataset,
        data_dir=args.data_dir,
        categories=args.categories or None,
        mask_dir=args.mask_dir,
        seed=args.seed,
    )


def run(args: EvaluateArguments, bundle: "Bundle", source: Any) -> "EvaluationResult":
    """Evaluates one method on one data set as the arguments say, and writes its report."""
    from zsas_jax.evaluation.run import evaluate
    from zsas_jax.metrics import MetricOptions
    from zsas_jax.metrics.resolution import parse_resolution
    from zsas_jax.report.write import write_reports

    folder = args.dataset == FOLDER
    prompts = _prompts(args)
    pipeline, details = args.pipeline, {}
    calibrated = None if args.calibrate else _calibrated(args, source, bundle.config.pipeline)
    if calibrated is not None:
        threshold = calibrated["image_threshold"]
        pipeline = dataclasses.replace(pipeline, image_threshold=threshold)
        details["threshold_from"] = calibrated["good_parts"]
    options = MetricOptions(
        by_defect_type=True,
        bootstrap=args.bootstrap,
        region_f1=args.region_f1,
        pro_200=args.pro_200,
        boundary_thresholds=(pipeline.mask_threshold,) if args.boundary_f1 else (),
    )
    result = evaluate(
        bundle,
        source,
        dataset=results_name(args.dataset),
        config=pipeline,
        output_dir=args.output_dir / "calibration" if args.calibrate else args.output_dir,
        batch_size=args.batch_size,
        devices=args.devices,
        seed=args.seed,
        resolution=parse_resolution(args.resolution),
        metric_options=options,
        limit=args.limit,
        prompts=prompts,
        overlays_per_category=None if folder and not args.calibrate else 3,
        strips_per_category=args.pictures,
        save_maps=(folder and not args.calibrate) or args.save_maps,
        overwrite=args.overwrite,
        fingerprint=_fingerprint(args),
        warnings=[*_training_warnings(args), *getattr(source, "warnings", ())],
        details={
            "checkpoint": args.checkpoint,
            "data_dir": _text(args.data_dir),
            "mask_dir": _text(args.mask_dir),
            "categories": list(args.categories),
            **details,
        },
    )
    write_reports([result.directory], result.directory)
    return result


def run_all(tasks: Sequence[EvaluateArguments]) -> list["EvaluationResult"]:
    """Runs everything that was asked for; data sets are opened first, so that mistakes show."""
    from zsas_jax.checkpoints.checkpoint import load

    sources: dict[Any, Any] = {}
    for task in tasks:
        if _source_key(task) not in sources:
            source = sources[_source_key(task)] = open_source(task)
            for text in getattr(source, "warnings", ()):
                print(f"warning: {text}", file=sys.stderr)
    results, bundle, loaded = [], None, None
    for task in tasks:
        if loaded != task.checkpoint or bundle is None:
            bundle = None  # Two checkpoints need not fit into memory.
            bundle, loaded = load(task.checkpoint), task.checkpoint
        for text in _training_warnings(task):
            print(f"warning: {text}", file=sys.stderr)
        with naming(task.output_dir):
            results.append(run(task, bundle, sources[_source_key(task)]))
    return results


def _source_key(task: EvaluateArguments) -> tuple[Any, ...]:
    return task.dataset, task.data_dir, task.mask_dir, task.categories, task.seed


def write_common_report(results: Sequence["EvaluationResult"]) -> list[pathlib.Path]:
    """One report of several runs, in the deepest folder that holds them all."""
    from zsas_jax.report.write import write_reports

    directories = [result.directory for result in results]
    parents = [set(directory.parents) for directory in directories]
    common = max(set.intersection(*parents), key=lambda path: len(path.parts))
    with naming(common):
        return write_reports(directories, common)


def save_calibration(args: EvaluateArguments, result: "EvaluationResult") -> str:
    """Sets and saves the verdict's threshold by the scores of good parts; says what it did."""
    from zsas_jax.checkpoints.checkpoint import checkpoint_path
    from zsas_jax.evaluation.verdicts import calibrate, save_threshold

    calibration = calibrate([row[3] for row in result.scores], args.false_alarm_rate)
    category = args.categories[0] if args.categories else "object"
    path = save_threshold(
        checkpoint_path(args.checkpoint),
        calibration,
        pipeline=args.pipeline,
        category=category,
        prompts=_prompts(args),
        photos=f"{calibration.photos} photos of {args.data_dir}",
    )
    parts = [
        f"verdict: anomalous from an image score of {calibration.threshold:.4f} "
        f"(method {args.pipeline.method}, category {category!r}); {calibration.alarms} of the "
        f"{calibration.photos} good parts reach it, asked for a rate of {calibration.rate:g}",
        f"saved in {path}: later runs on a folder with this checkpoint, method, category, prompts "
        "and settings use it; --threshold X takes its place",
    ]
    if not calibration.is_reliable:
        parts.append(
            f"warning: {calibration.photos} photos are too few for a rate of {calibration.rate:g}: "
            f"expected at least {calibration.needed}; with these, up to 1 of "
            f"{calibration.photos + 1} good parts may be called anomalous"
        )
    return "\n".join(parts)


def compare_runs(args: EvaluateArguments) -> str:
    """What changed between two runs, as markdown, and where it is written."""
    from zsas_jax.report.compare import compare

    assert args.compare is not None
    with naming(args.output_dir):
        text = compare(*args.compare, args.output_dir)
    page = args.output_dir / "comparison.html"
    return f"{text}\n\nwritten: {page}, {page.with_suffix('.md')}"


def training_datasets(checkpoint: pathlib.Path) -> set[str]:
    """Data sets that a checkpoint says it was trained on, in lower case.

    Looked for in provenance.json, or under "provenance" of config.json or manifest.json.
    """
    found: set[str] = set()
    for file in ("provenance.json", "config.json", "manifest.json"):
        try:
            stored = json.loads((checkpoint / file).read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(stored, dict):
            found |= _named(stored if file == "provenance.json" else stored.get("provenance"))
    return {results_name(name).lower() for name in found}


def _named(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(_named, value))
    if not isinstance(value, dict):
        return set()
    found = set()
    for key, item in value.items():
        if key in _TRAINED_ON and isinstance(item, str):
            found.add(item)
        elif key in _TRAINED_ON and isinstance(item, list):
            found |= {name for name in item if isinstance(name, str)} | _named(item)
        else:
            found |= _named(item)
    return found


def _training_warnings(args: EvaluateArguments) -> list[str]:
    from zsas_jax.checkpoints.checkpoint import checkpoint_path

    # The generator's evaluation classes and defects are never part of training.
    if args.dataset in ("synthetic", FOLDER):
        return []
    name = results_name(args.dataset)
    if name.lower() not in training_datasets(checkpoint_path(args.checkpoint)):
        return []
    return [f"checkpoint {args.checkpoint} was trained on {name}: these results are not zero-shot"]


def _calibrated(args: EvaluateArguments, source: Any, stored: "PipelineConfig") -> Any:
    """The threshold that was calibrated for these arguments, if any; says where it is from."""
    from zsas_jax.checkpoints.checkpoint import checkpoint_path
    from zsas_jax.evaluation.verdicts import find_threshold, thresholds_of

    if args.dataset != FOLDER or args.threshold is not None:
        return None
    checkpoint, method = checkpoint_path(args.checkpoint), args.pipeline.method
    category = source.categories[0]
    found = find_threshold(
        checkpoint, pipeline=args.pipeline, category=category, prompts=_prompts(args)
    )
    threshold = args.pipeline.image_threshold
    if found is not None:
        text = (
            f"verdict's threshold {found['image_threshold']:.4f}, calibrated on "
            f"{found['good_parts']} for a false-alarm rate of {found['false_alarm_rate']:g}"
        )
    elif thresholds_of(checkpoint, method, category):
        text = (
            f"warning: {method} was calibrated for {category!r} with other weights, prompts or "
            f"settings; the verdict's threshold is {threshold:.4f}, the checkpoint's own"
        )
    elif method != stored.method and threshold == stored.image_threshold:
        text = (
            f"warning: the verdict's threshold {threshold:.4f} was chosen for {stored.method}, not "
            f"for {method}: --calibrate finds one"
        )
    else:
        return None
    print(text, file=sys.stderr)
    return found


def _prompts(args: EvaluateArguments) -> Any:
    from zsas_jax.parts.text import Prompts, load_prompts

    return load_prompts(args.prompts) if args.prompts else Prompts()


def _fingerprint(args: EvaluateArguments) -> str:
    """The data by the names, sizes and times of its files, the weights by their manifest."""
    from zsas_jax.checkpoints.checkpoint import checkpoint_path
    from zsas_jax.evaluation.resume import tree_fingerprint

    manifest = checkpoint_path(args.checkpoint) / "manifest.json"
    if not manifest.is_file():
        raise ConfigError(f"{manifest} is missing: expected a checkpoint directory")
    own = [args.dataset] if args.dataset.endswith(".py") else []
    description = pathlib.Path(own[0]).read_bytes() if own else b""
    data = tree_fingerprint(args.data_dir, args.mask_dir) or ""
    digest = hashlib.sha256(manifest.read_bytes() + description + data.encode())
    return digest.hexdigest()


def _text(path: pathlib.Path | None) -> str | None:
    return None if path is None else str(path)
