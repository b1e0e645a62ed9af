"""One run of several phases, each resumable: networks one after the other, views that grow.

OUTPUT_DIR/recipe.json          the recipe's hash, by which a directory is known again
OUTPUT_DIR/01-first-128/ ...    a run of `loop.train` each, with its log and checkpoints
OUTPUT_DIR/model/               the result
"""

import dataclasses
import json
import logging
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from zsas_jax.checkpoints import load, save
from zsas_jax.checkpoints.bundle import join
from zsas_jax.checkpoints.provenance import FILE as PROVENANCE
from zsas_jax.config import Between, check_fields
from zsas_jax.errors import CheckpointError, ConfigError
from zsas_jax.files import save_json
from zsas_jax.methods import find_method, with_settings
from zsas_jax.training.config import TrainConfig
from zsas_jax.training.devices import Devices, wait_for_all
from zsas_jax.training.journal import is_finished
from zsas_jax.training.loop import Task, train
from zsas_jax.training.provenance import config_hash
from zsas_jax.training.select import Select, select

logger = logging.getLogger(__name__)
MakeTask = Callable[[TrainConfig], Task]


@dataclasses.dataclass(frozen=True)
class View:
    """A part of a phase at one size."""

    size: Annotated[int, Between(1)]
    """Side of the training views, pixels: the task's `view_size`."""
    steps: Annotated[int, Between(1)]
    batch_size: Annotated[int, Between(1)]

    def __post_init__(self):
        check_fields(self, "view")


@dataclasses.dataclass(frozen=True)
class Phase:
    """One task, at one size or at several that grow."""

    name: str
    """A folder's name; later phases start from it by this name."""
    train: TrainConfig
    """Its `init` is filled in."""
    views: tuple[View, ...] = ()
    """Each starts from the parameters of the one before it (the moving average, where
    `optimizer.ema_decay` keeps one), with other pictures first; empty: `train` as it is."""
    start: tuple[str, ...] = ()
    """Names of phases whose networks it starts from, or freezes."""

    def __post_init__(self):
        if self.views and not hasattr(self.train.task, "view_size"):
            kind = type(self.train.task).__name__
            raise ConfigError(f"phase {self.name!r} has views, which a {kind} has not: expected ()")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that makes one checkpoint."""

    phases: tuple[Phase, ...]
    result: tuple[str, ...]
    """Names of the phases whose networks make the result; of the same network the last counts."""
    method: str = ""
    """The method that the result calls its own."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Method -> its config, saved with the result; `select` starts from it."""
    select: Select | None = None
    """How settings and thresholds of the result are chosen."""

    def __post_init__(self):
        known: list[str] = []
        for phase in self.phases:
            if not re.fullmatch(r"[a-z0-9_]+", phase.name) or phase.name in known:
                raise ConfigError(
                    f"phase name {phase.name!r} is no plain name or is there twice: expected "
                    "letters, digits and _, each name once"
                )
            _require_known(phase.start, known, f"start of phase {phase.name!r}")
            known.append(phase.name)
        _require_known(self.result, known, "result")
        if not self.result:
            raise ConfigError("result is empty: expected names of phases")
        if self.method:
            find_method(self.method)
        for name, chosen in self.settings.items():
            if type(chosen) is not (expected := find_method(name).config):
                raise ConfigError(
                    f"settings of {name!r} are a {type(chosen).__name__}: expected "
                    f"{expected.__name__}"
                )


def _require_known(names: tuple[str, ...], known: list[str], where: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"{where} names {unknown[0]!r}: expected earlier phases, {known}")


def runs_of(recipe: Recipe, output_dir: pathlib.Path) -> list[tuple[pathlib.Path, TrainConfig]]:
    """The single runs of a recipe in order, each with its directory."""
    runs: list[tuple[pathlib.Path, TrainConfig]] = []
    last: dict[str, str] = {}
    for phase in recipe.phases:
        init = tuple(last[name] for name in phase.start)
        parts: list[tuple[str, TrainConfig]] = [(phase.name, phase.train)]
        if phase.views:
            parts = [
                (f"{phase.name}-{view.size}", _at(phase.train, view, number))
                for number, view in enumerate(phase.views)
            ]
        for name, config in parts:
            directory = output_dir / f"{len(runs) + 1:02d}-{name}"
            runs.append((directory, dataclasses.replace(config, init=(*config.init, *init))))
            init = (*(last[other] for other in phase.start), str(directory / "model"))
            last[phase.name] = str(directory / "model")
    return runs


def _at(config: TrainConfig, view: View, number: int) -> TrainConfig:
    task: Any = config.task
    return dataclasses.replace(
        config,
        task=dataclasses.replace(task, view_size=view.size),
        steps=view.steps,
        batch_size=view.batch_size,
        seed=config.seed + number,
    )


def run_recipe(
    recipe: Recipe,
    make_task: MakeTask,
    output_dir: pathlib.Path,
    *,
    resume: bool = False,
    devices: Devices | None = None,
) -> pathlib.Path | None:
    """Runs all phases and saves `<output_dir>/model`, which it returns; None where it was stopped.

    With `resume` finished phases are passed over, and an interrupted one goes on where it stopped.

    Raises:
        CheckpointError: the directory holds another recipe, or one that is not to be resumed, or
            none that could be.
        ConfigError, ZsasError: what a phase raises.
    """
    devices = devices or Devices()
    output_dir = output_dir.absolute()
    _check_directory(recipe, output_dir, resume=resume)
    wait_for_all("every process has looked at the recipe")
    if devices.writes and not resume:
        save_json(output_dir / "recipe.json", {"sha256": config_hash(recipe)})
    runs = runs_of(recipe, output_dir)
    for number, (directory, config) in enumerate(runs, 1):
        logger.info("phase %d of %d: %s", number, len(runs), directory.name)
        if is_finished(directory):
            continue
        begun = (directory / "config.json").is_file()
        if train(config, make_task(config), directory, resume=begun, devices=devices) is None:
            return None
    if not devices.writes:
        return output_dir / "model"
    return _finish(recipe, runs, output_dir)


def _check_directory(recipe: Recipe, output_dir: pathlib.Path, *, resume: bool) -> None:
    file = output_dir / "recipe.json"
    if file.is_file():
        if not resume:
            raise CheckpointError(
                f"{output_dir} holds a recipe already: expected --resume or another --output-dir"
            )
        try:
            found = json.loads(file.read_text("utf-8"))["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{file} is damaged: expected a recipe's hash") from error
        if found != config_hash(recipe):
            raise CheckpointError(
                f"{output_dir} holds another recipe: expected the same, or another --output-dir"
            )
    elif resume:
        raise CheckpointError(f"{output_dir} holds no recipe to resume: {file} is missing")


def _finish(
    recipe: Recipe, runs: list[tuple[pathlib.Path, TrainConfig]], output_dir: pathlib.Path
) -> pathlib.Path:
    """Puts the phases' networks together, chooses settings, and saves."""
    model = output_dir / "model"
    if (model / "manifest.json").is_file():
        return model
    last = {_phase_of(directory): directory / "model" for directory, _ in runs}
    bundle, trained_on, facts = None, [], {}
    for name in recipe.result:
        found = load(last[name])
        about = json.loads((last[name] / PROVENANCE).read_text("utf-8"))
        trained_on += about["trained_on"]
        facts[name] = about
        bundle = found if bundle is None else join(bundle, found)
    assert bundle is not None
    if recipe.method:
        bundle = bundle._replace(config=dataclasses.replace(bundle.config, method=recipe.method))
    for name, chosen in recipe.settings.items():
        bundle = bundle._replace(config=with_settings(bundle.config, name, chosen))
    if recipe.select is not None:
        bundle = select(bundle, recipe.select)
    about = {
        "trained_on": list(dict.fromkeys(trained_on)),
        "recipe_sha256": config_hash(recipe),
        "phases": facts,
    }
    return save(model, bundle, overwrite=True, provenance=about)


def _phase_of(directory: pathlib.Path) -> str:
    return directory.name.split("-")[1]
