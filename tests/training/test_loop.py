"""The loop on a toy task: resuming, refusing, stopping, diverging."""

import csv
import dataclasses
import itertools
import json
import signal
import types

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_world import MeanTask, StopAt

from zsas_jax.errors import CheckpointError, ConfigError, ZsasError
from zsas_jax.files import sole_writer
from zsas_jax.testing import dummy_bundle
from zsas_jax.training import checkpoints, journal, loop
from zsas_jax.training.config import OptimizerConfig, TaskConfig, TrainConfig

CONFIG = TrainConfig(
    TaskConfig(),
    steps=12,
    batch_size=4,
    optimizer=OptimizerConfig(learning_rate=0.05, warmup_steps=2, schedule="cosine"),
    log_every=3,
    checkpoint_every=4,
)
BUNDLE = dummy_bundle(["umci"])


def _toy_task() -> loop.Task:
    """Fits a line; the loss also depends on the key, so that a lost key would show."""
    rng = np.random.default_rng(0)
    points = [{"x": x, "y": 3 * x + 1} for x in rng.normal(size=40).astype(np.float32)]
    dataset = (
        grain.MapDataset.source(points)
        .seed(1)
        .shuffle()
        .repeat()
        .random_map(lambda item, rng: {**item, "y": item["y"] + np.float32(rng.normal(0, 0.1))})
        .batch(CONFIG.batch_size, drop_remainder=True)
        .to_iter_dataset(grain.ReadOptions(1, 2))
    )

    def loss(params, frozen, batch, key):
        noise = 0.01 * jax.random.normal(key, ())
        error = params["w"] * batch["x"] + params["b"] - batch["y"] + frozen * noise
        return jnp.mean(error**2), {"b": params["b"]}

    params = {"w": jnp.zeros(()), "b": jnp.zeros(())}
    captured = {}

    def export(trained):
        captured.update(jax.device_get(trained))
        return BUNDLE

    task = loop.Task(params, jnp.ones(()), loss, dataset, export)
    return task, captured


def _run(directory, config=CONFIG, changes=None, **options):
    task, captured = _toy_task()
    loop.train(config, task._replace(**(changes or {})), directory, **options)
    return captured


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, monkeypatch):
    whole = _run(tmp_path / "whole")
    monkeypatch.setattr(loop, "_StopSignal", lambda: StopAt(6))
    _run(tmp_path / "parts")
    monkeypatch.undo()
    assert not (tmp_path / "parts" / "model").exists()
    resumed = _run(tmp_path / "parts", resume=True)
    assert whole == resumed
    logs = []
    for name in ("whole", "parts"):
        with (tmp_path / name / "log.csv").open() as file:
            logs.append([(row["step"], row["loss"]) for row in csv.DictReader(file)])
    assert logs[0] == logs[1]
    assert [step for step, _ in logs[0]] == ["3", "6", "9", "12"]


BEST = dataclasses.replace(CONFIG, task=MeanTask(), keep="best")


def _validated(best, and_then=lambda: None):
    """Epochs of six steps, each validated, of which the first or the last is the best."""

    def validate(params, frozen, devices):
        w = float(params["w"])  # grows
        and_then()
        return loop.Validation({"w": w}, -w if best == "first" else w, {})

    return {"steps_per_epoch": 6, "validate": validate}


def _summary(directory):
    def refuse(name):
        raise AssertionError(f"summary.json has {name}, which is no JSON")

    return json.loads((directory / "summary.json").read_text(), parse_constant=refuse)


@pytest.mark.parametrize(("stop", "best"), [(6, "first"), (12, "last")])
def test_the_validation_of_an_epoch_that_a_stop_ended_is_made_up_for(
    tmp_path, monkeypatch, stop, best
):
    validated = _validated(best)
    whole = _run(tmp_path / "whole", BEST, validated)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_StopSignal", lambda: StopAt(stop))
        _run(tmp_path / "parts", BEST, validated)
    # Resumed twice: what was made up for stays.
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_StopSignal", lambda: StopAt(2))
        _run(tmp_path / "parts", BEST, validated, resume=True)
    resumed = _run(tmp_path / "parts", BEST, validated, resume=True)
    rows = (tmp_path / "whole" / "validation.csv").read_text()
    assert rows.count("\n") == 3
    assert (tmp_path / "parts" / "validation.csv").read_text() == rows
    found, expected = _summary(tmp_path / "parts"), _summary(tmp_path / "whole")
    assert found["best"] == expected["best"]
    assert found["best"]["step"] == stop
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    if stop == 6:
        assert resumed == whole


def test_a_run_that_has_done_its_steps_keeps_what_was_measured(tmp_path, monkeypatch):
    clock = itertools.count(0, 1000)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_StopSignal", lambda: StopAt(12))
        patch.setattr(journal, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
        assert not _run(tmp_path)
    assert _run(tmp_path, resume=True)
    summary = _summary(tmp_path)
    with (tmp_path / "log.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert last["step"] == "12"
    assert summary["loss"] == float(last["loss"])
    assert summary["images_per_second"] == float(last["images_per_second"])
    assert summary["seconds"] > 1000  # with those before it was stopped
    # Nothing is done again after the end, also where fewer steps are asked for.
    for steps in (12, 6):
        assert not _run(tmp_path, dataclasses.replace(CONFIG, steps=steps), resume=True)
        assert _summary(tmp_path) == summary
    # More steps go on.
    assert _run(tmp_path, dataclasses.replace(CONFIG, steps=13), resume=True)
    assert _summary(tmp_path)["steps"] == 13


def test_a_run_too_short_to_measure_anything_has_a_summary(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_StopSignal", lambda: StopAt(2))
        _run(tmp_path)
    assert _run(tmp_path, dataclasses.replace(CONFIG, steps=2), resume=True)
    assert "loss" not in _summary(tmp_path)
    assert journal.summary_lines(tmp_path)[0].endswith("device")


@pytest.fixture
def ctrl_c():
    """Ctrl-C works, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_after_the_last_step_ends_the_program_and_the_end_is_made_up_for(tmp_path, ctrl_c):
    def tuning(_):
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("Ctrl-C was swallowed")

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path, changes={"export": tuning})
    assert not (tmp_path / "model").exists()
    assert _run(tmp_path, resume=True)
    assert _summary(tmp_path)["loss"] > 0


def test_ctrl_c_in_the_last_validation_stops_the_run(tmp_path, ctrl_c):
    interrupted = _validated("last", lambda: signal.raise_signal(signal.SIGINT))
    config = dataclasses.replace(BEST, steps=6)
    assert not _run(tmp_path, config, interrupted)
    assert not (tmp_path / "model").exists()
    assert _run(tmp_path, config, _validated("last"), resume=True)
    assert _summary(tmp_path)["best"]["step"] == 6
    assert (tmp_path / "validation.csv").read_text().count("\n") == 2


def test_a_directory_with_a_run_is_refused_unless_resumed(tmp_path):
    _run(tmp_path / "run")
    with pytest.raises(CheckpointError, match="--resume"):
        _run(tmp_path / "run")
    other = dataclasses.replace(CONFIG, batch_size=8)
    with pytest.raises(CheckpointError, match="batch_size"):
        _run(tmp_path / "run", other, resume=True)
    with pytest.raises(CheckpointError, match="no run to resume"):
        _run(tmp_path / "empty", resume=True)


def test_divergence_names_step_and_last_checkpoint(tmp_path):
    # The rate of 0.05 a step takes w past 0.2 after the checkpoint at step 4, before that at 8.
    loss = lambda p, f, b, k: (jnp.where(p["w"] > 0.2, jnp.nan, -p["w"]), {})  # noqa: E731
    with pytest.raises(ZsasError, match=r"at step \d+: the last good checkpoint is step 4"):
        _run(tmp_path, changes={"loss": loss})


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_names_its_own_step_and_a_remedy(what, tmp_path):
    def loss(params, frozen, batch, key):
        w = params["w"]  # not 0 from the second step on
        if what == "loss":
            return jnp.where(w != 0, jnp.nan, w), {}
        # The root is 0 from the second step on, where it has no gradient.
        return w + jnp.sqrt(jnp.where(w != 0, 0 * w, 1)), {}

    # The step is found although nothing looks at it before the third.
    config = dataclasses.replace(
        CONFIG, optimizer=OptimizerConfig(learning_rate=0.1, clip_norm=0.0)
    )
    message = rf"{what}.* not finite at step 2: there is no checkpoint yet; a lower .*clip_norm"
    with pytest.raises(ZsasError, match=message):
        _run(tmp_path, config, {"loss": loss})


def test_a_full_disk_during_a_save_is_one_sentence_and_loses_nothing(tmp_path, monkeypatch):
    save = checkpoints.ocp.CheckpointManager.save

    def fail(self, step, **options):
        if step > 4:
            raise OSError(28, "No space left on device")
        return save(self, step, **options)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.ocp.CheckpointManager, "save", fail)
        with pytest.raises(CheckpointError, match=r"no space left there.*good one is step 4"):
            _run(tmp_path)
    assert _run(tmp_path, resume=True)


def test_a_loss_that_grows_a_thousandfold_has_diverged_and_one_that_begins_at_0_has_not(tmp_path):
    task, _ = _toy_task()
    config = dataclasses.replace(CONFIG, log_every=1)

    def growing(params, frozen, batch, key):
        return jnp.exp(60 * jax.lax.stop_gradient(params["w"])) - params["w"], {}

    def from_zero(params, frozen, batch, key):
        w = jax.lax.stop_gradient(params["w"])
        return jnp.where(w > 0.01, 100.0, 0.0) - params["w"], {}

    with pytest.raises(ZsasError, match=r"grown from 1 to .* at step \d+: the last good"):
        loop.train(config, task._replace(loss=growing), tmp_path / "growing")
    task, _ = _toy_task()
    assert loop.train(config, task._replace(loss=from_zero), tmp_path / "zero") is not None


def test_config_is_saved_and_an_unwritable_directory_is_one_sentence(tmp_path):
    _run(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "config.json").read_text())["steps"] == 12
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        _run(tmp_path / "file" / "run")


def test_a_directory_that_another_run_writes_to_is_refused(tmp_path):
    with sole_writer(tmp_path / "run"), pytest.raises(ConfigError, match="another process"):
        _run(tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()
    _run(tmp_path / "run")
    assert (tmp_path / "run" / "model").is_dir()


def test_vectors_are_not_decayed():
    config = OptimizerConfig(learning_rate=0.1, weight_decay=1.0, clip_norm=0.0)
    optimizer = loop.make_optimizer(config, 10)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    assert float(jnp.abs(updates["bias"]).max()) == 0
    np.testing.assert_allclose(updates["kernel"], -0.1, rtol=1e-5)


def _log(directory, column):
    with (directory / "log.csv").open() as file:
        return {int(row["step"]): float(row[column]) for row in csv.DictReader(file)}


def test_the_best_epoch_is_what_is_saved(tmp_path):
    config = dataclasses.replace(BEST, log_every=1)
    trained = _run(tmp_path, config, _validated("first"))
    # Logged before the update of its step.
    b = _log(tmp_path, "b")
    assert trained["b"] == pytest.approx(b[7], abs=1e-6)
    assert abs(b[7] - b[12]) > 1e-3


def test_the_moving_average_is_what_is_saved(tmp_path):
    config = dataclasses.replace(CONFIG, log_every=1)
    last = _run(tmp_path / "plain", config)
    b = [*list(_log(tmp_path / "plain", "b").values())[1:], float(last["b"])]
    optimizer = dataclasses.replace(CONFIG.optimizer, ema_decay=0.75)
    found = _run(tmp_path / "ema", dataclasses.replace(config, optimizer=optimizer))
    average = 0.0
    for value in b:
        average = 0.75 * average + 0.25 * value
    assert found["b"] == pytest.approx(average, abs=1e-5)
    assert abs(average - b[-1]) > 1e-2


def test_parts_of_a_batch_give_the_gradient_of_the_whole(tmp_path):
    quiet = {"frozen": jnp.zeros(())}  # Without the noise, whose keys differ.
    config = dataclasses.replace(CONFIG, task=MeanTask())
    whole = _run(tmp_path / "whole", config, quiet)
    optimizer = dataclasses.replace(CONFIG.optimizer, accumulation=2)
    parts = _run(tmp_path / "parts", dataclasses.replace(config, optimizer=optimizer), quiet)
    assert _log(tmp_path / "parts", "loss") == pytest.approx(
        _log(tmp_path / "whole", "loss"), rel=1e-4
    )
    for name in ("w", "b"):
        assert parts[name] == pytest.approx(whole[name], rel=1e-4)
