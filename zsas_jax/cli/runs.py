"""What `zsas evaluate` does with its tasks: evaluate, calibrate, compare, report."""

import dataclasses
import hashlib
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from zsas_jax.checkpoints import Bundle, checkpoint_path, load, read_config
from zsas_jax.checkpoints.provenance import trained_on
from zsas_jax.cli.arguments import FOLDER, EvaluateArguments, Task, results_name
from zsas_jax.cli.common import naming
from zsas_jax.data.registry import open_dataset
from zsas_jax.errors import ConfigError
from zsas_jax.evaluation.options import Origin, Outputs, Pace
from zsas_jax.evaluation.resume import tree_fingerprint
from zsas_jax.evaluation.run import EvaluationResult, evaluate
from zsas_jax.evaluation.verdicts import calibrate, find_threshold, save_threshold, thresholds_of
from zsas_jax.methods import default_method
from zsas_jax.methods.base import Request
from zsas_jax.metrics import MetricOptions
from zsas_jax.metrics.resolution import parse_resolution
from zsas_jax.parts.text import Prompts, load_prompts
from zsas_jax.report.compare import compare
from zsas_jax.report.summary import summary
from zsas_jax.report.write import write_reports


def run(task: Task, bundle: Bundle, source: Any) -> EvaluationResult:
    """Evaluates one method on one data set as the arguments say, and writes its report."""
    args = task.args
    folder = args.dataset == FOLDER and not args.calibrate
    verdict, details = task.verdict, {}
    calibrated = None if args.calibrate else _calibrated(task, source)
    if calibrated is not None:
        threshold = calibrated["image_threshold"]
        verdict = dataclasses.replace(verdict, image_threshold=threshold)
        details["threshold_from"] = calibrated["good_parts"]
    options = MetricOptions(
        by_defect_type=True,
        bootstrap=args.bootstrap,
        region_f1=args.region_f1,
        pro_200=args.pro_200,
        boundary_thresholds=(verdict.mask_threshold,) if args.boundary_f1 else (),
    )
    details |= {
        "checkpoint": args.checkpoint,
        "data_dir": _text(args.data_dir),
        "mask_dir": _text(args.mask_dir),
        "categories": list(args.categories),
    }
    warnings = [*_training_warnings(args), *getattr(source, "warnings", ())]
    result = evaluate(
        bundle,
        source,
        dataset=results_name(args.dataset),
        method=task.method,
        config=task.config,
        verdict=verdict,
        compute=task.compute,
        request=Request(_prompts(args)),
        seed=args.seed,
        limit=args.limit,
        resolution=parse_resolution(args.resolution),
        metric_options=options,
        outputs=Outputs(None if folder else 3, args.pictures, folder or args.save_maps),
        pace=Pace(args.batch_size, args.devices),
        origin=Origin(_fingerprint(args), warnings, details),
        output_dir=task.output_dir / "calibration" if args.calibrate else task.output_dir,
        overwrite=args.overwrite,
    )
    write_reports([result.directory], result.directory)
    return result


def run_all(tasks: Sequence[Task]) -> list[EvaluationResult]:
    """Runs everything that was asked for; data sets are opened first, so that mistakes show."""
    sources: dict[Any, Any] = {}
    for task in tasks:
        if _source_key(task.args) not in sources:
            source = sources[_source_key(task.args)] = _open_source(task.args)
            for text in getattr(source, "warnings", ()):
                print(f"warning: {text}", file=sys.stderr)
    results, bundle, loaded = [], None, None
    for task in tasks:
        if loaded != task.args.checkpoint or bundle is None:
            bundle = None  # Two checkpoints need not fit into memory.
            bundle, loaded = load(task.args.checkpoint), task.args.checkpoint
        for text in _training_warnings(task.args):
            print(f"warning: {text}", file=sys.stderr)
        with naming(task.output_dir):
            results.append(run(task, bundle, sources[_source_key(task.args)]))
    return results


def _open_source(args: EvaluateArguments) -> Any:
    return open_dataset(
        args.dataset,
        data_dir=args.data_dir,
        categories=args.categories or None,
        mask_dir=args.mask_dir,
        seed=args.seed,
    )


def _source_key(args: EvaluateArguments) -> tuple[Any, ...]:
    return args.dataset, args.data_dir, args.mask_dir, args.categories, args.seed


def summary_of(result: EvaluationResult, load_seconds: float) -> str:
    """What the program says of one run at its end."""
    return summary(result.directory, reused=result.reused, load_seconds=load_seconds)


def write_common_report(results: Sequence[EvaluationResult]) -> list[pathlib.Path]:
    """One report of several runs, in the deepest folder that holds them all."""
    directories = [result.directory for result in results]
    parents = [set(directory.parents) for directory in directories]
    common = max(set.intersection(*parents), key=lambda path: len(path.parts))
    with naming(common):
        return write_reports(directories, common)


def save_calibration(task: Task, result: EvaluationResult) -> str:
    """Sets and saves the verdict's threshold by the scores of good parts; says what it did."""
    args = task.args
    calibration = calibrate([row[3] for row in result.scores], args.false_alarm_rate)
    category = args.categories[0] if args.categories else "object"
    path = save_threshold(
        checkpoint_path(args.checkpoint),
        calibration,
        method=task.method,
        config=task.config,
        category=category,
        prompts=_prompts(args),
        photos=f"{calibration.photos} photos of {args.data_dir}",
    )
    parts = [
        f"verdict: anomalous from an image score of {calibration.threshold:.4f} "
        f"(method {task.method}, category {category!r}); {calibration.alarms} of the "
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
    assert args.compare is not None
    with naming(args.output_dir):
        text = compare(*args.compare, args.output_dir)
    page = args.output_dir / "comparison.html"
    return f"{text}\n\nwritten: {page}, {page.with_suffix('.md')}"


def _training_warnings(args: EvaluateArguments) -> list[str]:
    # The generator's evaluation classes and defects are never part of training.
    if args.dataset in ("synthetic", FOLDER):
        return []
    name = results_name(args.dataset)
    known = {results_name(one).lower() for one in trained_on(args.checkpoint)}
    if name.lower() not in known:
        return []
    return [f"checkpoint {args.checkpoint} was trained on {name}: these results are not zero-shot"]


def _calibrated(task: Task, source: Any) -> Any:
    """The threshold that was calibrated for these arguments, if any; says where it is from."""
    args = task.args
    if args.dataset != FOLDER or args.threshold is not None:
        return None
    checkpoint, stored = checkpoint_path(args.checkpoint), read_config(args.checkpoint)
    category = source.categories[0]
    found = find_threshold(
        checkpoint,
        method=task.method,
        config=task.config,
        category=category,
        prompts=_prompts(args),
    )
    threshold = task.verdict.image_threshold
    if found is not None:
        text = (
            f"verdict's threshold {found['image_threshold']:.4f}, calibrated on "
            f"{found['good_parts']} for a false-alarm rate of {found['false_alarm_rate']:g}"
        )
    elif thresholds_of(checkpoint, task.method, category):
        text = (
            f"warning: {task.method} was calibrated for {category!r} with other weights, prompts "
            f"or settings; the verdict's threshold is {threshold:.4f}, the checkpoint's own"
        )
    elif task.method not in stored.verdicts:
        text = (
            f"warning: no verdict's threshold was chosen for {task.method} (the checkpoint's own "
            f"method is {default_method(stored)}), so that it is {threshold:.4f}: --calibrate "
            "finds one"
        )
    else:
        return None
    print(text, file=sys.stderr)
    return found


def _prompts(args: EvaluateArguments) -> Prompts:
    return load_prompts(args.prompts) if args.prompts else Prompts()


def _fingerprint(args: EvaluateArguments) -> str:
    """The data by the names, sizes and times of its files, the weights by their manifest."""
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
