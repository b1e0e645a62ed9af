"""The papers' ablations at the scale of a checkpoint: variants, trained and evaluated alike.

    python -m zsas_jax.ablations --config configs/ablations_tiny.py [--studies NAME ...]

A study is a table; its variants differ in pipeline settings or in their UMCI, which is then trained
anew by the study's recipe. All are evaluated on the generator's held-out classes, with several
seeds. What is done is kept, so that the same command goes on after an interruption.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from zsas_jax.cli.common import (
    exit_on_error,
    load_config_file,
    parse_arguments,
    set_up_xla,
)
from zsas_jax.config import suggestion, to_dict
from zsas_jax.errors import ConfigError
from zsas_jax.report.tables import COLUMNS, UNDEFINED

if TYPE_CHECKING:
    from zsas_jax.training.config import TrainConfig

_SHOWN = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_pro", "image_auroc")
METRICS = {**{name: COLUMNS[name] for name in _SHOWN}, "boundary_f1": "boundary F1-max"}
# Variants have maps of different scales: for each class the best of these counts, as for F1-max.
# Evenly spaced in log-odds, 0.018 to 0.982.
LEVELS = tuple(round(float(level), 4) for level in 1 / (1 + np.exp(-np.linspace(-4, 4, 25))))


@dataclasses.dataclass(frozen=True)
class Variant:
    """A row of a study's table."""

    name: str
    pipeline: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of PipelineConfig that differ from the checkpoint's."""
    umci: Mapping[str, Any] | None = None
    """Fields of UmciConfig that differ from the checkpoint's; the UMCI is then trained anew, also
    where none differs. None takes the checkpoint's own."""
    photos: str = ""
    """How the pictures are changed, a name of `zsas_jax.data.synthetic.disturbed`; empty: not."""


@dataclasses.dataclass(frozen=True)
class Study:
    """A table: a title that names its source, and its rows."""

    name: str
    title: str
    variants: tuple[Variant, ...]


@dataclasses.dataclass(frozen=True)
class Ablations:
    """What a config file of ablations holds."""

    training: "TrainConfig"
    """How a variant's UMCI is trained; `init` and `pipeline` are the checkpoint's."""
    studies: tuple[Study, ...]
    checkpoint: str = "tiny"


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What the command takes."""

    config: pathlib.Path
    """Python file whose CONFIG is an Ablations."""
    studies: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Run only these."""
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")] = (0, 1, 2)
    """Seeds of the evaluation's pictures."""
    per_class: Annotated[int, tyro.conf.arg(metavar="N")] = 40
    """Pictures of each held-out class."""
    output_dir: pathlib.Path = pathlib.Path("results/ablations")
    """Where trained variants, results and the tables go."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the studies and prints their tables; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    with exit_on_error() as outcome:
        args = parse_arguments(
            Arguments, argv, tyro.MISSING_NONPROP, "python -m zsas_jax.ablations", __doc__ or ""
        )
        config = load_config_file(args.config, Ablations)
        set_up_xla()
        print(run(config, args))
    return outcome.code


def run(config: Ablations, args: Arguments) -> str:
    """Trains and evaluates what is not there yet; writes and returns the tables as markdown.

    Raises:
        ConfigError: an unknown study or setting, no seeds, an output directory of other settings.
    """
    from zsas_jax.files import atomic_path
    from zsas_jax.report.files import save_csv, save_json
    from zsas_jax.report.results import versions

    chosen = _chosen(config.studies, args.studies)
    if not args.seeds:
        raise ConfigError("--seeds is empty: expected at least one number")
    for variant in (variant for study in chosen for variant in study.variants):
        _settings(config, variant)  # Mistakes show before anything is trained.
    tables, rows = [], []
    for study in chosen:
        found = {
            variant.name: evaluate_variant(config, variant, args) for variant in study.variants
        }
        tables.append(f"## {study.title}\n\n{table(found)}")
        for name, seeds in found.items():
            for seed, values in zip(args.seeds, seeds, strict=True):
                rows.append([study.name, name, seed, *(values[metric] for metric in METRICS)])
    note = f"Evaluation seed {args.seeds[0]}, {args.per_class} pictures a class."
    if len(args.seeds) > 1:
        note = (
            f"Mean over {len(args.seeds)} evaluation seeds, {args.per_class} pictures a class; "
            "in brackets the standard deviation over the seeds."
        )
    text = "\n\n".join([note, *tables])
    save_csv(args.output_dir / "ablations.csv", ["study", "variant", "seed", *METRICS], rows)
    settings = {
        "seeds": list(args.seeds),
        "per_class": args.per_class,
        "config": to_dict(config),
        "versions": versions(),
    }
    save_json(args.output_dir / "ablations.json", settings)
    with atomic_path(args.output_dir / "ablations.md") as part:
        part.write_text(text + "\n", "utf-8")
    return text


def evaluate_variant(
    config: Ablations, variant: Variant, args: Arguments
) -> list[dict[str, float | None]]:
    """Its metrics, mean over classes, for each seed."""
    from zsas_jax.data.synthetic import SyntheticSource
    from zsas_jax.data.synthetic.disturbed import DisturbedSource
    from zsas_jax.evaluation import evaluate
    from zsas_jax.metrics import MetricOptions
    from zsas_jax.weights.checkpoint import checkpoint_path, load, read_config, sha256

    checkpoint = checkpoint_path(config.checkpoint)
    if variant.umci is not None:
        checkpoint = trained(config, variant, args.output_dir)
    # A variant's own training says nothing of the pipeline's settings.
    stored = read_config(config.checkpoint).pipeline
    pipeline = dataclasses.replace(stored, **variant.pipeline)
    manifest = sha256(checkpoint / "manifest.json")
    # Of each checkpoint and number of pictures the results have a folder of their own.
    place = args.output_dir / "evaluated" / f"{manifest[:12]}-{args.per_class}" / _slug(variant)
    bundle, found = None, []
    for seed in args.seeds:
        source = SyntheticSource(split="eval", seed=seed, per_class=args.per_class)
        if variant.photos:
            source = DisturbedSource(source, variant.photos)
        bundle = bundle or load(checkpoint)
        result = evaluate(
            bundle,
            source,
            dataset="synthetic",
            config=pipeline,
            output_dir=place / f"seed{seed}",
            seed=seed,
            metric_options=MetricOptions(boundary_thresholds=LEVELS),
            overlays_per_category=0,
            strips_per_category=0,
            fingerprint=f"{manifest} {args.per_class}{variant.photos}",
            details={
                "checkpoint": str(checkpoint),
                "per_class": args.per_class,
                "photos": variant.photos,
            },
        )
        found.append({name: result.metrics["mean"][name] for name in METRICS})
    return found


def trained(config: Ablations, variant: Variant, output_dir: pathlib.Path) -> pathlib.Path:
    """The checkpoint of a variant's own UMCI on the frozen CLIP, trained unless it is there.

    Each recipe and each checkpoint has a folder of its own: nothing stale is taken over.
    """
    from zsas_jax.training.loop import train
    from zsas_jax.training.tasks import make_task
    from zsas_jax.weights.checkpoint import checkpoint_path, load, read_config, save

    manifest = (checkpoint_path(config.checkpoint) / "manifest.json").read_bytes()
    settings = json.dumps(to_dict(config.training), sort_keys=True, default=str)
    name = hashlib.sha256(manifest + settings.encode()).hexdigest()[:12]
    root = output_dir / "trained" / name
    base = root / "frozen"
    if not base.is_dir():
        save(base, load(config.checkpoint, networks=("clip", "sam")))
    directory = root / _flat({"umci": "own", **(variant.umci or {})})
    if (directory / "model").is_dir():
        return directory / "model"
    recipe = dataclasses.replace(
        config.training,
        task="umci",
        init=(str(base),),
        umci=_settings(config, variant),
        pipeline=read_config(config.checkpoint).pipeline,
    )
    resume = (directory / "config.json").is_file()
    saved = train(recipe, make_task(recipe), directory, resume=resume)
    if saved is None:
        raise ConfigError(f"training of {variant.name!r} was stopped: the same command goes on")
    return saved


def table(found: Mapping[str, Sequence[Mapping[str, float | None]]]) -> str:
    """Markdown, percent."""
    from zsas_jax.report.content import Table
    from zsas_jax.report.write import markdown_table

    rows = []
    for name, seeds in found.items():
        cells = [name]
        for metric in METRICS:
            values = [100 * value for seed in seeds if (value := seed[metric]) is not None]
            spread = f" ({np.std(values):.1f})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.1f}{spread}" if values else UNDEFINED)
        rows.append(cells)
    return markdown_table(Table("", ["variant", *METRICS.values()], rows))


def _settings(config: Ablations, variant: Variant) -> Any:
    """The sizes of a variant's UMCI, after a look at the names of all its settings."""
    from zsas_jax.config import PipelineConfig
    from zsas_jax.data.synthetic.disturbed import DISTURBANCES
    from zsas_jax.weights.checkpoint import read_config

    if variant.photos and variant.photos not in DISTURBANCES:
        where = f"photos of variant {variant.name!r} is {variant.photos!r}"
        raise ConfigError(where + suggestion(variant.photos, list(DISTURBANCES)))
    stored = read_config(config.checkpoint)
    if stored.umci is None:
        raise ConfigError(f"checkpoint {config.checkpoint!r} has no UMCI: expected one with all")
    for what, changes, kind in (
        ("pipeline", variant.pipeline, PipelineConfig),
        ("umci", variant.umci or {}, type(stored.umci)),
    ):
        known = [field.name for field in dataclasses.fields(kind)]
        for name in changes:
            if name not in known:
                where = f"{what} of variant {variant.name!r} has {name!r}"
                raise ConfigError(where + suggestion(name, known))
    dataclasses.replace(stored.pipeline, **variant.pipeline)
    return dataclasses.replace(stored.umci, **(variant.umci or {}))


def _chosen(studies: Sequence[Study], names: Sequence[str]) -> list[Study]:
    known = {study.name: study for study in studies}
    for name in names:
        if name not in known:
            raise ConfigError(f"--studies has {name!r}{suggestion(name, list(known))}")
    return [study for study in studies if not names or study.name in names]


def _slug(variant: Variant) -> str:
    """A folder's name: equal variants of several studies are computed once."""
    own = [] if variant.umci is None else [_flat({"umci": "own", **variant.umci})]
    photos = {"photos": variant.photos} if variant.photos else {}
    changes = {**variant.pipeline, **photos}
    return "-".join([*own, *([_flat(changes)] if changes else [])]) or "as_is"


def _flat(settings: Mapping[str, Any]) -> str:
    text = "-".join(f"{name}={value}" for name, value in sorted(settings.items()))
    return re.sub(r"[^\w.=-]+", "_", text)


if __name__ == "__main__":
    # The classes that config files know are those of the imported module.
    from zsas_jax import ablations

    sys.exit(ablations.main())
