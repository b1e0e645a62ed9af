"""The training loop. It knows parameters, a loss and batches, not what is being trained."""

import contextlib
import functools
import logging
import pathlib
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax

from zsas_jax.checkpoints import Bundle, save
from zsas_jax.errors import ZsasError
from zsas_jax.files import sole_writer
from zsas_jax.training.checkpoints import Checkpoints, check_directory, claim_directory
from zsas_jax.training.config import TrainConfig
from zsas_jax.training.devices import Devices, any_process, wait_for_all
from zsas_jax.training.journal import Journal, is_finished, progress_bar
from zsas_jax.training.optimizers import make_optimizer

Batch = dict[str, Any]
Scalars = dict[str, jax.Array]

logger = logging.getLogger(__name__)


class Validation(NamedTuple):
    """What an epoch's parameters do on held-out data.

    Attributes:
        scalars: for people, by name; None where a metric is not defined.
        score: higher is better; the best epoch's checkpoint is kept.
        pictures: sample maps by name, uint8 [h, w, 3].
    """

    scalars: dict[str, float | None]
    score: float
    pictures: dict[str, np.ndarray]


class Task(NamedTuple):
    """What a run trains.

    Attributes:
        params: the trained parameters, the only thing the optimizer sees.
        frozen: arrays that the loss reads and nothing changes.
        loss: (params, frozen, batch, key) -> (scalar, scalars to log) of the whole batch; a mean
            over pictures where `optimizer.accumulation` is above 1, which TrainConfig sees to.
        dataset: this process's rows of batches of NumPy arrays, endless and in an order that the
            seed fixes.
        export: trained parameters -> what the run saves.
        steps_per_epoch: batches in one pass over the data.
        validate: (params, frozen, devices) -> measurements, after every epoch; or None.
        provenance: what is saved with the result about where it comes from.
    """

    params: Any
    frozen: Any
    loss: Callable[[Any, Any, Batch, jax.Array], tuple[jax.Array, Scalars]]
    dataset: grain.IterDataset
    export: Callable[[Any], Bundle]
    steps_per_epoch: int = 1
    validate: Callable[[Any, Any, Devices], Validation] | None = None
    provenance: dict[str, Any] | None = None


def train(
    config: TrainConfig,
    task: Task,
    output_dir: pathlib.Path,
    *,
    resume: bool = False,
    devices: Devices | None = None,
) -> pathlib.Path | None:
    """Trains to the end and saves the result as `<output_dir>/model`, which it returns.

    Writes config.json, the files of `Journal` and resumable checkpoints. SIGTERM and Ctrl-C save a
    checkpoint and end the run early (None is returned); after the last step they end the program.
    `resume` goes on from the last checkpoint, with the same batches and validations as if the run
    had never stopped; a run that has come to its end stays as it is. Every process of a run on
    several hosts calls this; the first one writes, to a directory that all of them can read.

    Raises:
        CheckpointError: the directory holds another run, or nothing to resume, or is full.
        ConfigError: a batch that the devices cannot share; a directory that another process writes
            to.
        ZsasError: the loss is no longer finite; it names the step, the last checkpoint and the
            likely cause.
    """
    devices = devices or Devices()
    devices.check_batch(config.batch_size, config.optimizer.accumulation)
    output_dir = output_dir.absolute()
    check_directory(config, output_dir, resume=resume)
    wait_for_all("every process has looked at the directory")
    with sole_writer(output_dir) if devices.writes else contextlib.nullcontext():
        if devices.writes:
            claim_directory(config, output_dir)
        wait_for_all("the directory is claimed")
        return _train(config, task, output_dir, resume, devices)


def _train(
    config: TrainConfig, task: Task, output_dir: pathlib.Path, resume: bool, devices: Devices
) -> pathlib.Path | None:
    """`train` in a directory of its own."""
    total = config.steps or config.epochs * task.steps_per_epoch
    optimizer = make_optimizer(config.optimizer, total)
    state = devices.copy(first_state(config, task.params, optimizer))
    frozen = devices.place_frozen(task.frozen, config.shard_frozen)
    step_fn = make_step(config, optimizer, task.loss, devices)
    batches = iter(task.dataset)
    with Checkpoints(output_dir) as checkpoints, contextlib.closing(batches):
        first, seconds = 0, 0.0
        if resume and checkpoints.latest is not None:
            first = checkpoints.latest
            total = max(total, first)  # What is done is not undone.
            if first == total and is_finished(output_dir, total):
                return output_dir / "model"
            state, seconds = checkpoints.restore(first, state, batches)

        def is_validated(step: int) -> bool:
            ends_epoch = step % max(task.steps_per_epoch, 1) == 0
            return task.validate is not None and (ends_epoch or step == total)

        journal = Journal(output_dir, first, seconds=seconds, writes=devices.writes)
        health = devices.copy(np.int32(0))
        with _StopSignal() as stop, journal:
            if first and is_validated(first) and first not in checkpoints.scores:
                # A stop at the end of an epoch does not wait for its validation.
                score = _validate(task, state, frozen, devices, journal, first)
                checkpoints.set_score(first, score, writes=devices.writes)
            watch, seen = _Watch(config, checkpoints), first
            progress = progress_bar(first, total, shown=devices.writes)
            for done in (step + 1 for step in progress):
                batch = devices.place_batch(next(batches))
                state, health, scalars = step_fn(state, health, frozen, batch, np.int32(done))
                noted = done % config.log_every == 0 or done == total
                asked = stop.asked
                stopping = any_process(asked) if noted or jax.process_count() == 1 else False
                validated = is_validated(done)
                due = done % config.checkpoint_every == 0 or done == total or stopping or validated
                if due or noted:
                    watch.check(int(health), done, scalars, batch)
                if noted:
                    values = {name: float(value) for name, value in scalars.items()}
                    journal.scalars(done, values, config.batch_size * (done - seen))
                    seen, row = done, journal.row
                    shown = f"loss {row['loss']:.4f}, {row['images_per_second']:.1f} images/s"
                    progress.set_postfix_str(shown)
                if due:
                    seconds = journal.seconds
                    checkpoints.save(done, state, batches, config, seconds=seconds)
                if stopping:
                    checkpoints.wait()
                    return None
                if validated:  # A validation that comes to no end costs no steps.
                    score = _validate(task, state, frozen, devices, journal, done)
                    checkpoints.wait()
                    checkpoints.set_score(done, score, writes=devices.writes)
            checkpoints.wait()
            if any_process(stop.asked):
                return None
        # Tuning can take long, and all steps are on disk: from here on a signal ends the program.
        result = _finish(config, task, state, checkpoints, output_dir, devices)
        best = checkpoints.best
        facts = {"steps": total, "batch_size": config.batch_size, "devices": devices.count}
        best_facts = best and {"step": best, "scalars": journal.epoch_at(best)}
        journal.summary({**facts, "best": best_facts})
    return result


def _validate(
    task: Task, state: Any, frozen: Any, devices: Devices, journal: Journal, step: int
) -> float:
    """Measures the parameters after a step, notes what was found and returns the score."""
    assert task.validate is not None
    started, epoch = time.monotonic(), step // max(task.steps_per_epoch, 1)
    found = task.validate(_kept(state), frozen, devices)
    journal.validation(step, epoch, found.scalars, found.pictures)
    journal.paused += time.monotonic() - started
    logger.info("epoch %d: %s", epoch, _in_words(found.scalars))
    return found.score


def first_state(
    config: TrainConfig, params: Any, optimizer: optax.GradientTransformation
) -> dict[str, Any]:
    """Parameters, optimizer and, where one is kept, the moving average, at step 0."""
    state = {"params": params, "optimizer": optimizer.init(params)}
    if config.optimizer.ema_decay:
        state["ema"] = jax.tree.map(jnp.copy, params)
    return state


def _kept(state: dict[str, Any]) -> Any:
    """The parameters that are validated and saved."""
    return state.get("ema", state["params"])


def make_step(
    config: TrainConfig,
    optimizer: optax.GradientTransformation,
    loss: Callable,
    devices: Devices,
):
    """One update: (state, health, frozen, batch, number from 1) -> (state, health, scalars).

    `health` is 0, or the number of the first step whose loss was not finite, or minus that of the
    first whose gradient or parameters alone were not.
    """
    parts, decay = config.optimizer.accumulation, config.optimizer.ema_decay
    grad_fn = jax.value_and_grad(loss, has_aux=True)

    def accumulated(params, frozen, batch, key):
        """Mean over parts of the batch, one after the other."""

        # Row r belongs to part r modulo `parts`, so that every device has rows of every part.
        def cut(rows):
            shape = (rows.shape[0] // parts, parts, *rows.shape[1:])
            return jnp.moveaxis(rows.reshape(shape), 1, 0)

        def add(total, part):
            number, rows = part
            found = grad_fn(params, frozen, rows, jax.random.fold_in(key, number))
            return jax.tree.map(jnp.add, total, found), None

        first = jax.tree.map(lambda rows: cut(rows)[0], batch)
        shapes = jax.eval_shape(grad_fn, params, frozen, first, key)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        total, _ = jax.lax.scan(add, zeros, (jnp.arange(parts), jax.tree.map(cut, batch)))
        return jax.tree.map(lambda leaf: leaf / parts, total)

    @functools.partial(jax.jit, donate_argnums=(0, 1), out_shardings=devices.copied)
    def step(state, health, frozen, batch, number):
        key = jax.random.fold_in(jax.random.key(config.seed), number - 1)
        compute = grad_fn if parts == 1 else accumulated
        (value, scalars), gradient = compute(state["params"], frozen, batch, key)
        updates, moments = optimizer.update(gradient, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        scalars = {"loss": value, "gradient_norm": optax.tree.norm(gradient), **scalars}
        new = {"params": params, "optimizer": moments}
        if decay:
            new["ema"] = jax.tree.map(
                lambda old, now: decay * old + (1 - decay) * now, state["ema"], params
            )
        norms = scalars["gradient_norm"] + optax.tree.norm(params)
        healthy = jnp.isfinite(value) & jnp.isfinite(norms)
        bad = jnp.where(jnp.isfinite(value), -number, number)
        health = jnp.where((health == 0) & ~healthy, bad, health)
        return new, health, scalars

    return step


class _Watch:
    """Ends a run that diverges, before every save: what is on disk is always good."""

    # A loss this many times above the largest of the first checks (and above 1) has diverged; a
    # bounded loss never gets there, nor one that happens to begin at 0.
    _DIVERGED, _CHECKS = 1000.0, 5

    def __init__(self, config: TrainConfig, checkpoints: Checkpoints):
        self._config, self._checkpoints = config, checkpoints
        self._early: list[float] = []

    def check(self, bad_step: int, step: int, scalars: Scalars, batch: Batch) -> None:
        loss = float(scalars["loss"])
        if bad_step:
            what = "loss is" if bad_step > 0 else "gradient or a parameter is"
            found = f"the {what} not finite at step {abs(bad_step)}"
        elif len(self._early) < self._CHECKS:
            self._early.append(abs(loss))
            return
        elif abs(loss) <= self._DIVERGED * max(1.0, *self._early):
            return
        else:
            found = f"the loss has grown from {self._early[0]:.4g} to {loss:.4g} at step {step}"
        last = self._checkpoints.latest
        good = "there is no checkpoint yet"
        if last is not None:
            good = f"the last good checkpoint is step {last}"
        raise ZsasError(f"{found}: {good}; {self._cause(batch)}")

    def _cause(self, batch: Batch) -> str:
        for name, rows in batch.items():
            if jnp.issubdtype(rows.dtype, jnp.floating) and not bool(jnp.isfinite(rows).all()):
                return f"the batch's {name!r} is not finite, so the data are the likely cause"
        optimizer = self._config.optimizer
        advice = f"a lower learning rate than {optimizer.learning_rate} is the usual remedy"
        if not optimizer.clip_norm:
            advice += ", or optimizer.clip_norm 1"
        if self._config.precision == "bfloat16":
            advice += ", or precision float32"
        return advice


def _finish(
    config: TrainConfig,
    task: Task,
    state: Any,
    checkpoints: Checkpoints,
    output_dir: pathlib.Path,
    devices: Devices,
) -> pathlib.Path:
    """Saves the parameters that the config wants kept."""
    if config.keep == "best" and (best := checkpoints.best) is not None:
        state, _ = checkpoints.restore(best, state)
    result = output_dir / "model"
    if devices.writes:
        bundle = task.export(jax.tree.map(jnp.asarray, jax.device_get(_kept(state))))
        if jax.process_count() > 1:  # Orbax takes no arrays of one process among several.
            bundle = bundle._replace(model=jax.device_get(bundle.model))
        save(result, bundle, overwrite=True, provenance=task.provenance)
    wait_for_all("saved")
    return result


def _in_words(scalars: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in scalars.items() if value is not None)


class _StopSignal:
    """Turns SIGTERM and Ctrl-C into a flag while the loop runs."""

    asked = False

    def __enter__(self):
        def ask(*_):
            self.asked = True

        self._old = {
            number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_):
        for number, handler in self._old.items():
            signal.signal(number, handler)
