"""The papers' ablations at the scale of a checkpoint: variants, trained and evaluated alike.

A study is a table; its variants differ in their method, its settings or their networks, which are
then trained anew by the study's recipe. All are evaluated on the generator's held-out classes, with
several seeds. What is done is kept, so that the same command goes on after an interruption.
"""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zsas_jax import methods
from zsas_jax.checkpoints import checkpoint_path, load, read_config, save
from zsas_jax.checkpoints.bundle import Config
from zsas_jax.config import replace_path, suggestion, to_dict
from zsas_jax.data.synthetic import SyntheticSource
from zsas_jax.data.synthetic.disturbed import DISTURBANCES, DisturbedSource
from zsas_jax.errors import ConfigError
from zsas_jax.evaluation.options import Origin, Outputs
from zsas_jax.evaluation.results import versions
from zsas_jax.evaluation.run import evaluate
from zsas_jax.files import atomic_path, save_csv, save_json
from zsas_jax.metrics import MetricOptions
from zsas_jax.tasks import make_task
from zsas_jax.training.config import TrainConfig
from zsas_jax.training.loop import train

METRICS = {
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "AP",
    "pixel_f1_max": "F1-max",
    "pixel_pro": "PRO",
    "image_auroc": "image AUROC",
    "boundary_f1": "boundary F1-max",
}
# Variants have maps of different scales: for each class the best of these counts, as for F1-max.
# Evenly spaced in log-odds, 0.018 to 0.982.
LEVELS = tuple(round(float(level), 4) for level in 1 / (1 + np.exp(-np.linspace(-4, 4, 25))))

Scores = Mapping[str, float | None]


@dataclasses.dataclass(frozen=True)
class Variant:
    """A row of a study's table."""

    name: str
    method: str = ""
    """What `--method` takes; empty: the checkpoint's own."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Dotted paths of the method's settings ("refiner.regions") -> values other than the
    checkpoint's."""
    networks: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Networks that are trained anew -> fields of their config other than the checkpoint's."""
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

    training: Mapping[str, TrainConfig]
    """Network -> how a variant's own is trained; its sizes and `init` are the checkpoint's."""
    studies: tuple[Study, ...]
    checkpoint: str = "tiny"


def run(
    config: Ablations,
    *,
    studies: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    per_class: int = 40,
    output_dir: pathlib.Path = pathlib.Path("results/ablations"),
) -> str:
    """Trains and evaluates what is not there yet; writes and returns the tables as markdown.

    Args:
        config: checkpoint, studies, and how networks are trained.
        studies: run only these; none named means all.
        seeds: of the evaluation's pictures.
        per_class: pictures of each held-out class.
        output_dir: where trained variants, results and tables go.

    Raises:
        ConfigError: an unknown study or setting, no seeds, an output directory of other settings.
    """
    chosen = _chosen(config.studies, studies)
    if not seeds:
        raise ConfigError("seeds is empty: expected at least one number")
    for variant in (variant for study in chosen for variant in study.variants):
        check_variant(config, variant)  # Mistakes show before anything is trained.
    tables, rows = [], []
    for study in chosen:
        scores = {
            variant.name: evaluate_variant(config, variant, seeds, per_class, output_dir)
            for variant in study.variants
        }
        tables.append(f"## {study.title}\n\n{table(scores)}")
        for name, by_seed in scores.items():
            for seed, values in zip(seeds, by_seed, strict=True):
                rows.append([study.name, name, seed, *(values[metric] for metric in METRICS)])
    text = "\n\n".join([_note(seeds, per_class), *tables])
    save_csv(output_dir / "ablations.csv", ["study", "variant", "seed", *METRICS], rows)
    settings = {
        "seeds": list(seeds),
        "per_class": per_class,
        "config": to_dict(config),
        "versions": versions(),
    }
    save_json(output_dir / "ablations.json", settings)
    with atomic_path(output_dir / "ablations.md") as part:
        part.write_text(text + "\n", "utf-8")
    return text


def check_variant(config: Ablations, variant: Variant) -> None:
    """Looks at all names and values of a variant.

    Raises:
        ConfigError: an unknown name, or a value out of range.
    """
    where = f"variant {variant.name!r}"
    if variant.photos and variant.photos not in DISTURBANCES:
        known = suggestion(variant.photos, DISTURBANCES)
        raise ConfigError(f"photos of {where} is {variant.photos!r}{known}")
    stored = read_config(config.checkpoint)
    for name in variant.networks:
        for known, whose in ((stored.networks, "the checkpoint"), (config.training, "training")):
            if name not in known:
                lacks = f"{where} trains the network {name!r}, which {whose} lacks"
                raise ConfigError(lacks + suggestion(name, known))
    try:
        _network_configs(stored, variant)
        _method_config(stored, variant)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def evaluate_variant(
    config: Ablations,
    variant: Variant,
    seeds: Sequence[int],
    per_class: int,
    output_dir: pathlib.Path,
) -> list[Scores]:
    """Its metrics, mean over classes, for each seed."""
    checkpoint = checkpoint_path(config.checkpoint)
    if variant.networks:
        checkpoint = trained(config, variant, output_dir)
    # A variant's own training says nothing of the method's settings.
    method, settings = _method_config(read_config(config.checkpoint), variant)
    manifest = hashlib.sha256((checkpoint / "manifest.json").read_bytes()).hexdigest()
    # Of each checkpoint and number of pictures the results have a folder of their own.
    place = output_dir / "evaluated" / f"{manifest[:12]}-{per_class}" / _slug(variant)
    bundle, scores = None, []
    details = {
        "checkpoint": str(checkpoint),
        "per_class": per_class,
        "photos": variant.photos,
    }
    for seed in seeds:
        source: Any = SyntheticSource(split="eval", seed=seed, per_class=per_class)
        if variant.photos:
            source = DisturbedSource(source, variant.photos)
        bundle = bundle or load(checkpoint)
        result = evaluate(
            bundle,
            source,
            dataset="synthetic",
            method=method,
            config=settings,
            output_dir=place / f"seed{seed}",
            seed=seed,
            metric_options=MetricOptions(boundary_thresholds=LEVELS),
            outputs=Outputs(overlays=0, pictures=0),
            origin=Origin(f"{manifest} {per_class}{variant.photos}", details=details),
        )
        scores.append({name: result.metrics["mean"][name] for name in METRICS})
    return scores


def trained(config: Ablations, variant: Variant, output_dir: pathlib.Path) -> pathlib.Path:
    """The checkpoint of a variant's own networks on the frozen others, trained unless it is there.

    Each recipe and each checkpoint has a folder of its own: nothing stale is taken over.
    """
    manifest = (checkpoint_path(config.checkpoint) / "manifest.json").read_bytes()
    recipes = {name: config.training[name] for name in variant.networks}
    settings = json.dumps({name: to_dict(r) for name, r in recipes.items()}, sort_keys=True)
    root = output_dir / "trained" / hashlib.sha256(manifest + settings.encode()).hexdigest()[:12]
    stored = read_config(config.checkpoint)
    start = root / _flat(dict.fromkeys(variant.networks, "none"))
    if not start.is_dir():
        frozen = tuple(name for name in stored.networks if name not in variant.networks)
        save(start, load(config.checkpoint, networks=frozen))
    for name, sizes in _network_configs(stored, variant).items():
        directory = root / _flat({"network": name, **variant.networks[name]})
        task: Any = recipes[name].task
        task = dataclasses.replace(task, sizes=sizes)
        recipe = dataclasses.replace(recipes[name], init=(str(start),), task=task)
        if not (directory / "model").is_dir():
            resume = (directory / "config.json").is_file()
            if train(recipe, make_task(recipe), directory, resume=resume) is None:
                raise ConfigError(
                    f"training of {variant.name!r} was stopped: the same command goes on"
                )
        start = directory / "model"
    return start


def table(scores: Mapping[str, Sequence[Scores]]) -> str:
    """Markdown: mean and spread over seeds, percent."""
    lines = [["variant", *METRICS.values()], ["---", *["---:"] * len(METRICS)]]
    for name, seeds in scores.items():
        cells = [name]
        for metric in METRICS:
            values = [100 * value for seed in seeds if (value := seed[metric]) is not None]
            spread = f" ({np.std(values):.1f})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.1f}{spread}" if values else "-")
        lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _note(seeds: Sequence[int], per_class: int) -> str:
    if len(seeds) == 1:
        return f"Evaluation seed {seeds[0]}, {per_class} pictures a class."
    return (
        f"Mean over {len(seeds)} evaluation seeds, {per_class} pictures a class; in brackets the "
        "standard deviation over the seeds."
    )


def _network_configs(stored: Config, variant: Variant) -> dict[str, Any]:
    """The configs of the networks that a variant trains anew."""
    return {
        name: _replaced(stored.networks[name], changes)
        for name, changes in variant.networks.items()
    }


def _method_config(stored: Config, variant: Variant) -> tuple[str, Any]:
    """A variant's method and its settings."""
    method = variant.method or methods.default_method(stored)
    return method, _replaced(methods.settings(stored, method), variant.settings)


def _replaced(config: Any, changes: Mapping[str, Any]) -> Any:
    for path, value in changes.items():
        config = replace_path(config, path, value)
    return config


def _chosen(studies: Sequence[Study], names: Sequence[str]) -> list[Study]:
    known = [study.name for study in studies]
    for name in names:
        if name not in known:
            raise ConfigError(f"studies has {name!r}{suggestion(name, known)}")
    return [study for study in studies if not names or study.name in names]


def _slug(variant: Variant) -> str:
    """A folder's name: equal variants of several studies are computed once."""
    facts = {"method": variant.method, "photos": variant.photos, **variant.settings}
    own = [_flat({"network": name, **changes}) for name, changes in variant.networks.items()]
    return "-".join([*own, _flat({name: value for name, value in facts.items() if value != ""})])


def _flat(settings: Mapping[str, Any]) -> str:
    text = "-".join(f"{name}={value}" for name, value in sorted(settings.items()))
    return re.sub(r"[^\w.=-]+", "_", text) or "as_is"
