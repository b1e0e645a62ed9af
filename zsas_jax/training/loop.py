"""The training loop. It knows parameters, a loss and batches, not what is being trained."""

import csv
import dataclasses
import functools
import json
import pathlib
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
import optax
import optax.contrib
import orbax.checkpoint as ocp
from tqdm import tqdm

from zsas_jax.errors import CheckpointError, ConfigError, ZsasError
from zsas_jax.training.config import OptimizerConfig, TrainConfig
from zsas_jax.weights.checkpoint import Bundle, save

Batch = dict[str, Any]
Scalars = dict[str, jax.Array]


class Task(NamedTuple):
    """What a run trains.

    Attributes:
        params: the trained parameters, the only thing the optimizer sees.
        frozen: arrays that the loss reads and nothing changes.
        loss: (params, frozen, batch, key) -> (scalar, scalars to log).
        dataset: batches of NumPy arrays, endless and in an order that the seed fixes.
        export: trained parameters -> what the run saves.
    """

    params: Any
    frozen: Any
    loss: Callable[[Any, Any, Batch, jax.Array], tuple[jax.Array, Scalars]]
    dataset: grain.IterDataset
    export: Callable[[Any], Bundle]


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The configured optimizer; biases, norms and other vectors are not decayed."""
    peak, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "cosine":
        rate = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, max(steps, warmup + 1))
    else:
        rate = optax.linear_schedule(0.0, peak, warmup) if warmup else peak
    if config.algorithm == "muon":
        # Matrices by Muon with updates of AdamW's size, everything else by Adam.
        update = optax.contrib.muon(
            rate, weight_decay=config.weight_decay, consistent_rms=0.2, adam_b2=config.b2
        )
    else:
        update = optax.adamw(
            rate,
            b2=config.b2,
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
        )
    parts: list[optax.GradientTransformation] = [update]
    if config.clip_norm > 0:
        parts.insert(0, optax.clip_by_global_norm(config.clip_norm))
    return optax.chain(*parts)


def train(
    config: TrainConfig, task: Task, output_dir: pathlib.Path, *, resume: bool = False
) -> pathlib.Path | None:
    """Trains until `config.steps` and saves the result as `<output_dir>/model`, which it returns.

    Writes config.json, log.csv and resumable checkpoints. SIGTERM and Ctrl-C save a checkpoint and
    end the run early (None is returned); `resume` goes on from the last checkpoint, with the same
    batches as if the run had never stopped.

    Raises:
        CheckpointError: the directory holds another run, or nothing to resume.
        ZsasError: the loss is no longer finite; it names the step and the last checkpoint.
    """
    output_dir = output_dir.absolute()
    _claim(config, output_dir, resume)
    optimizer = make_optimizer(config.optimizer, config.steps)
    state = {"params": task.params, "optimizer": optimizer.init(task.params)}
    options = ocp.CheckpointManagerOptions(max_to_keep=2, create=True)
    with ocp.CheckpointManager(output_dir / "checkpoints", options=options) as manager:
        batches = iter(task.dataset)
        first = 0
        if resume and manager.latest_step() is not None:
            first, state = _restore(manager, state, batches)
        step_fn = _make_step(optimizer, task.loss)
        stop = _StopSignal()
        with stop, _Log(output_dir / "log.csv", first) as log:
            progress = tqdm(range(first, config.steps), initial=first, total=config.steps)
            for step in progress:
                batch = next(batches)
                key = jax.random.fold_in(jax.random.key(config.seed), step)
                state, scalars = step_fn(state, task.frozen, batch, key)
                done = step + 1
                due = done % config.checkpoint_every == 0 or done == config.steps or stop.asked
                if due or done % config.log_every == 0:
                    _check_finite(float(scalars["loss"]), done, manager, config)
                if done % config.log_every == 0 or done == config.steps:
                    row = log.write(done, scalars, config.batch_size * config.log_every)
                    progress.set_postfix_str(f"loss {row['loss']:.4f}")
                if due:
                    _save(manager, done, state, batches)
                if stop.asked:
                    manager.wait_until_finished()
                    return None
    return save(output_dir / "model", task.export(state["params"]), overwrite=True)


def _make_step(optimizer: optax.GradientTransformation, loss: Callable):
    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, frozen, batch, key):
        grad_fn = jax.value_and_grad(loss, has_aux=True)
        (value, scalars), gradient = grad_fn(state["params"], frozen, batch, key)
        updates, moments = optimizer.update(gradient, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        scalars = {"loss": value, "gradient_norm": optax.tree.norm(gradient), **scalars}
        return {"params": params, "optimizer": moments}, scalars

    return step


def _claim(config: TrainConfig, output_dir: pathlib.Path, resume: bool) -> None:
    """Refuses a directory of another run; the number of steps may grow."""
    file = output_dir / "config.json"
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    if file.exists():
        found = json.loads(file.read_text())
        if not resume:
            raise CheckpointError(
                f"{output_dir} holds a run already: expected --resume or another --output-dir"
            )
        changed = [name for name in settings if settings[name] != found.get(name)]
        if set(changed) - {"steps"}:
            raise CheckpointError(
                f"{output_dir} holds a run of another configuration ({', '.join(changed)} differ)"
            )
    elif resume:
        raise CheckpointError(f"{output_dir} holds no run to resume: {file} is missing")
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings, indent=1) + "\n")
    except OSError as error:
        raise ConfigError(f"{output_dir} cannot be written: {error.strerror}") from error


def _check_finite(
    loss: float, step: int, manager: ocp.CheckpointManager, config: TrainConfig
) -> None:
    """Before every save, so that what is on disk is always good."""
    if not np.isfinite(loss):
        raise ZsasError(
            f"the loss is {loss} at step {step}: the last good checkpoint is step "
            f"{manager.latest_step()}; a lower learning rate than "
            f"{config.optimizer.learning_rate} is the usual remedy"
        )


def _save(manager: ocp.CheckpointManager, step: int, state: Any, batches: Any) -> None:
    if manager.latest_step() != step:
        manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_plain(state)),
                batches=ocp.args.JsonSave(batches.get_state()),
            ),
        )


def _restore(manager: ocp.CheckpointManager, state: Any, batches: Any) -> tuple[int, Any]:
    step = manager.latest_step()
    assert step is not None
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _plain(state))
    restored = manager.restore(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), batches=ocp.args.JsonRestore()
        ),
    )
    batches.set_state(restored["batches"])
    leaves = jax.tree.leaves(restored["state"])
    return step, jax.tree.unflatten(jax.tree.structure(state), leaves)


def _plain(state: Any) -> list[jax.Array]:
    """The leaves in order: independent of how NNX and optax nest them."""
    return jax.tree.leaves(state)


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


class _Log:
    """One CSV row per logged step; a resumed run drops the rows that it will write again."""

    def __init__(self, path: pathlib.Path, first: int):
        self._path, self._first, self._time = path, first, time.monotonic()

    def __enter__(self):
        rows: list[dict[str, str]] = []
        if self._path.exists() and self._first:
            with self._path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= self._first]
        self._file = self._path.open("w", newline="")
        self._writer: csv.DictWriter | None = None
        for row in rows:
            self._row(row)
        return self

    def __exit__(self, *_):
        self._file.close()

    def write(self, step: int, scalars: Scalars, images: int) -> dict[str, float | int]:
        values = {name: float(value) for name, value in jax.device_get(scalars).items()}
        now = time.monotonic()
        row = {"step": step, **values, "images_per_second": images / (now - self._time)}
        self._time = now
        self._row({name: f"{value:.6g}" for name, value in row.items()})
        self._file.flush()
        return row

    def _row(self, row: dict[str, str]) -> None:
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, list(row))
            self._writer.writeheader()
        self._writer.writerow(row)
