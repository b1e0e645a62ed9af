"""Resumable checkpoints of a run, and which run a directory belongs to."""

import contextlib
import errno
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from zsas_jax.config import to_dict
from zsas_jax.errors import CheckpointError
from zsas_jax.files import atomic_path, not_writable
from zsas_jax.training.config import TrainConfig
from zsas_jax.training.devices import wait_for_all

KEPT = 2  # of the last checkpoints
NO_SCORE = -1e30  # of a checkpoint that was not validated
# What may differ when a run is resumed: how long it is, where things lie, what is shown, and what
# follows its last step.
_FREE = {
    "steps",
    "epochs",
    "log_every",
    "sample_maps",
    "shard_frozen",
    "task.data.cache_dir",
    "task.data.data_dir",
    "task.data.workers",
    "task.data.processes",
}


class Checkpoints:
    """The last two checkpoints of a run and the best one, written in the background by Orbax.

    Each has the parameters, the optimizer's state and the moving average (`state`), the iterator
    (`batches`), and the config, step, seed and seconds (`run`). A step's directory appears by
    renaming, so that a half-written one is never seen.
    """

    def __init__(self, output_dir: pathlib.Path):
        self._directory = output_dir / "checkpoints"
        policy = policies.AnyPreservationPolicy(
            [
                policies.LatestN(KEPT),
                policies.BestN(get_metric_fn=_score, n=1),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy,
            best_fn=_score,
            create=True,
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            with self._guarded():
                self._manager.close()
        else:
            # The first error is the one to report.
            with contextlib.suppress(Exception):
                self._manager.close()

    @property
    def latest(self) -> int | None:
        """Step of the last complete checkpoint."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """Step of the complete checkpoint with the best validation."""
        scores = self.scores
        return max(scores, key=lambda step: scores[step]) if scores else None

    @property
    def scores(self) -> dict[int, float]:
        """Step -> score of the complete checkpoints that were validated."""
        scores = {}
        for step in self._manager.all_steps():
            metrics = self._manager.metrics(step)
            if metrics and metrics["score"] > NO_SCORE:
                scores[step] = metrics["score"]
        return scores

    def save(
        self,
        step: int,
        state: Any,
        batches: Any,
        config: TrainConfig,
        *,
        seconds: float = 0.0,
    ) -> None:
        """Starts to write a checkpoint, with the seconds that the run has taken.

        One of the same step stays as it is.

        Raises:
            CheckpointError: this one, or the one before it, could not be written.
        """
        if self.latest == step:
            return
        run = {"config": to_dict(config), "step": step, "seed": config.seed, "seconds": seconds}
        with self._guarded():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(jax.tree.leaves(state)),  # pyright: ignore
                    batches=ocp.args.JsonSave(batches.get_state()),  # pyright: ignore
                    run=ocp.args.JsonSave(run),  # pyright: ignore
                ),
                metrics={"score": NO_SCORE},  # `set_score` follows.
            )

    def set_score(self, step: int, score: float, *, writes: bool) -> None:
        """Notes the validation of a complete checkpoint; every process calls it, one writes.

        Raises:
            CheckpointError: it cannot be written.
        """
        with self._guarded():
            if writes:
                # Where Orbax keeps what `save` gave it as metrics.
                with atomic_path(self._directory / str(step) / "metrics" / "metrics") as part:
                    part.write_text(json.dumps({"score": score}))
            wait_for_all("the score is written")
            self._manager.reload()

    def wait(self) -> None:
        """Returns when everything is on disk."""
        with self._guarded():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def restore(self, step: int, state: Any, batches: Any = None) -> tuple[Any, float]:
        """The state of a step, laid out as `state` is, and the seconds that the run had taken.

        Sets the iterator, where one is given.

        Raises:
            CheckpointError: a damaged checkpoint, or one of other shapes.
        """
        # The leaves in order: independent of how NNX and optax nest them.
        leaves = jax.tree.leaves(state)
        abstract = [ocp.utils.to_shape_dtype_struct(leaf) for leaf in leaves]
        items: dict[str, Any] = {
            "state": ocp.args.StandardRestore(abstract),  # pyright: ignore
            "run": ocp.args.JsonRestore(),
        }
        if batches is not None:
            items["batches"] = ocp.args.JsonRestore()
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise CheckpointError(
                f"{self._directory / str(step)} cannot be restored ({reason}): expected a complete "
                "checkpoint of this configuration; without this directory the run goes on from "
                "the one before"
            ) from error
        if batches is not None:
            batches.set_state(restored["batches"])
        state = jax.tree.unflatten(jax.tree.structure(state), restored["state"])
        return state, restored["run"].get("seconds", 0.0)  # Older checkpoints do not know.

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turns a failure to write into one sentence."""
        try:
            yield
        except Exception as error:
            text = f"{error} {error.__cause__ or ''}"
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            full = full or "No space left" in text or "quota exceeded" in text
            if not full and not isinstance(error, OSError):
                raise
            reason = "no space left there" if full else getattr(error, "strerror", None) or error
            # What was on its way before may still come to its end.
            with contextlib.suppress(Exception):
                self._manager.wait_until_finished()
            steps = self._complete()
            last = f"the last good one is step {max(steps)}" if steps else "there is none before it"
            raise CheckpointError(
                f"a checkpoint cannot be written to {self._directory} ({reason}): {last}; "
                "--resume continues from it when there is room"
            ) from error

    def _complete(self) -> list[int]:
        """Steps on disk, as their names say: the manager may still count the one that failed."""
        names = [path.name for path in self._directory.iterdir() if path.is_dir()]
        return [int(name) for name in names if name.isdigit()]


def _score(metrics: Any) -> float:
    return metrics["score"]


def check_directory(config: TrainConfig, output_dir: pathlib.Path, *, resume: bool) -> None:
    """Refuses a directory of another run.

    Raises:
        CheckpointError: a run is there and is not to be resumed, or none is and one is to be, or
            its configuration differs in more than its length and its places.
    """
    file = output_dir / "config.json"
    if file.exists():
        if not resume:
            raise CheckpointError(
                f"{output_dir} holds a run already: expected --resume or another --output-dir"
            )
        try:
            found = _flat(json.loads(file.read_text()))
        except (OSError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{file} is damaged ({error}): expected a run's config"
            ) from error
        asked = _flat(to_dict(config))
        changed = [
            name
            for name in sorted(asked.keys() | found.keys())
            if asked.get(name) != found.get(name)
        ]
        if changed := [name for name in changed if name not in _FREE]:
            first = changed[0]
            raise CheckpointError(
                f"{output_dir} holds a run of another configuration: {', '.join(changed)} differ"
                f"{'s' if len(changed) == 1 else ''}, for example {first} was "
                f"{found.get(first)} and is {asked.get(first)} now"
            )
    elif resume:
        raise CheckpointError(f"{output_dir} holds no run to resume: {file} is missing")


def claim_directory(config: TrainConfig, output_dir: pathlib.Path) -> None:
    """Makes a directory this run's, by its config.json.

    Raises:
        ConfigError: it cannot be written.
    """
    file = output_dir / "config.json"
    try:
        with atomic_path(file) as part:
            part.write_text(json.dumps(to_dict(config), indent=1) + "\n")
    except OSError as error:
        raise not_writable(output_dir, error) from error


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat
