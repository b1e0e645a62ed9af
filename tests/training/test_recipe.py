"""A run of several phases: views that grow, averages, chosen settings, interruptions."""

import dataclasses
import json

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_world import StopAt

from zsas_jax import methods
from zsas_jax.checkpoints import load
from zsas_jax.checkpoints.provenance import trained_on
from zsas_jax.errors import CheckpointError, ConfigError
from zsas_jax.testing import dummy_bundle
from zsas_jax.training import loop, recipe
from zsas_jax.training.config import OptimizerConfig, TaskConfig, TrainConfig
from zsas_jax.training.recipe import Phase, Recipe, View, run_recipe, runs_of
from zsas_jax.training.select import Candidates, Select

BUNDLES = {name: dummy_bundle([name]) for name in ("clip", "sam")}


@dataclasses.dataclass(frozen=True)
class Toy(TaskConfig):
    """Fits a line with the first weights of one network."""

    network: str = "clip"
    view_size: int = 0


def make_task(config):
    """The loss depends on the view's size, the seed and the step's key."""
    task = config.task
    own = BUNDLES[task.network]
    if config.init:
        own = load(config.init[-1])
    leaves, layout = jax.tree.flatten(own.model)
    rng = np.random.default_rng(config.seed)
    points = [{"x": x} for x in rng.normal(size=16).astype("float32")]
    dataset = grain.MapDataset.source(points).seed(config.seed).shuffle().repeat()
    dataset = dataset.batch(config.batch_size).to_iter_dataset(grain.ReadOptions(1, 2))

    def loss(params, frozen, batch, key):
        aim = batch["x"].mean() + task.view_size / 100 + 0.01 * jax.random.normal(key, ())
        return (params["w"].sum() - aim) ** 2, {}

    def export(params):
        model = jax.tree.unflatten(layout, [params["w"], *leaves[1:]])
        return own._replace(model=model)

    start = jnp.array(leaves[0], jnp.float32)  # a copy: a run gives its parameters away
    facts = {"trained_on": ["toy", *trained_on(*config.init)]}
    return loop.Task({"w": start}, jnp.zeros(()), loss, dataset, export, provenance=facts)


TRAIN = TrainConfig(
    Toy(),
    steps=2,
    batch_size=2,
    optimizer=OptimizerConfig(learning_rate=0.1, ema_decay=0.5),
    log_every=1,
)
SETTINGS = methods.find_method("clip").config()
RECIPE = Recipe(
    phases=(
        Phase("first", TRAIN),
        Phase("grown", TRAIN, (View(16, 2, 2), View(24, 2, 4)), start=("first",)),
        Phase("other", dataclasses.replace(TRAIN, task=Toy("sam"))),
    ),
    result=("other", "grown"),
    method="similarity+cascade",
    settings={"clip": SETTINGS},
)


def arrays(model):
    return jax.device_get(jax.tree.leaves(load(model).model))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_recipe(RECIPE, make_task, tmp_path_factory.mktemp("recipe") / "whole")


def test_the_result_has_networks_settings_and_origin_of_its_phases(whole):
    directory = whole.parent
    names = ["01-first", "02-grown-16", "03-grown-24", "04-other"]
    assert [path.name for path in sorted(directory.glob("0*"))] == names
    bundle = load(whole)
    assert set(bundle.model.names) == {"clip", "sam"}
    grown = load(directory / "03-grown-24" / "model")
    for a, b in zip(*(jax.tree.leaves(one.model.clip) for one in (bundle, grown)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert bundle.tokenizer is not None
    assert bundle.config.method == "similarity+cascade"
    assert methods.settings(bundle.config, "clip") == SETTINGS
    assert trained_on(whole) == ("toy",)
    about = json.loads((whole / "provenance.json").read_text())
    assert set(about["phases"]) == {"grown", "other"}


def test_a_part_starts_from_the_average_of_the_part_before(whole):
    runs = runs_of(RECIPE, whole.parent)
    configs = [config for _, config in runs]
    assert [config.task.view_size for config in configs] == [0, 16, 24, 0]
    assert [config.seed for config in configs] == [0, 0, 1, 0]
    assert [config.batch_size for config in configs] == [2, 2, 4, 2]
    models = [str(directory / "model") for directory, _ in runs]
    assert [config.init for config in configs] == [
        (),
        (models[0],),
        (models[0], models[1]),
        (),
    ]
    # One step from what is saved, with half of it in the average: Adam's first step is its rate.
    before, after = (arrays(model)[0] for model in models[:2])
    assert 0 < np.abs(after - before).max() < 0.1


# Three looks a run: at each of two steps, and at the end.
@pytest.mark.parametrize("steps", [1, 8, 12])
def test_interrupted_in_any_phase_it_ends_as_if_it_never_was(steps, whole, tmp_path, monkeypatch):
    stop = StopAt(steps)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_StopSignal", lambda: stop)
        assert run_recipe(RECIPE, make_task, tmp_path) is None
    done = [path.name for path in tmp_path.glob("0*") if (path / "model").is_dir()]
    made = []

    def counted(config):
        made.append(config)
        return make_task(config)

    model = run_recipe(RECIPE, counted, tmp_path, resume=True)
    assert len(done) + len(made) == 4  # What is done is not even built again.
    for a, b in zip(arrays(model), arrays(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_finished_recipe_stays_and_another_is_refused(whole):
    directory = whole.parent
    before = (whole / "manifest.json").stat().st_mtime_ns

    def never(config):
        raise AssertionError

    assert run_recipe(RECIPE, never, directory, resume=True) == whole
    assert (whole / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(CheckpointError, match="--resume"):
        run_recipe(RECIPE, never, directory)
    with pytest.raises(CheckpointError, match="holds another recipe"):
        run_recipe(dataclasses.replace(RECIPE, method="clip"), never, directory, resume=True)
    with pytest.raises(CheckpointError, match="no recipe to resume"):
        run_recipe(RECIPE, never, directory / "none", resume=True)


def test_settings_are_chosen_for_the_joined_networks(tmp_path, monkeypatch):
    asked = []

    def select(bundle, config):
        asked.append((bundle.model.names, config))
        chosen = dataclasses.replace(SETTINGS.score, top_fraction=0.5)
        settings = dataclasses.replace(SETTINGS, score=chosen)
        return bundle._replace(config=methods.with_settings(bundle.config, "clip", settings))

    monkeypatch.setattr(recipe, "select", select)
    how = Select("clip", (Candidates("score.top_fraction", (0.5, 0.1)),))
    small = dataclasses.replace(RECIPE, phases=RECIPE.phases[:1], result=("first",), select=how)
    model = run_recipe(small, make_task, tmp_path)
    assert asked == [(("clip",), how)]
    assert methods.settings(load(model).config, "clip").score.top_fraction == 0.5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Recipe((Phase("A b", TRAIN),), ("A b",)), "phase name 'A b'"),
        (lambda: Recipe((Phase("a", TRAIN), Phase("a", TRAIN)), ("a",)), "phase name 'a'"),
        (lambda: Recipe((Phase("a", TRAIN, start=("b",)),), ("a",)), "start of phase 'a'"),
        (lambda: Recipe((Phase("a", TRAIN),), ("b",)), "result names 'b'"),
        (lambda: Recipe((Phase("a", TRAIN),), ()), "result is empty"),
        (lambda: dataclasses.replace(RECIPE, method="cascad"), "did you mean 'cascade'"),
        (lambda: dataclasses.replace(RECIPE, settings={"umci": SETTINGS}), "settings of 'umci'"),
        (lambda: Phase("a", dataclasses.replace(TRAIN, task=TaskConfig()), (View(8, 1, 1),)), "a"),
        (lambda: View(16, 0, 2), "view.steps is 0"),
    ],
)
def test_mistakes_show_before_anything_is_trained(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
