"""What can be trained: a file a task, a line here."""

from collections.abc import Callable
from typing import Any

from zsas_jax.errors import ConfigError
from zsas_jax.tasks.clip import ClipTask, clip_task
from zsas_jax.tasks.head import HeadTask, head_task
from zsas_jax.tasks.sam import SamTask, sam_task
from zsas_jax.training.config import TrainConfig
from zsas_jax.training.loop import Task

TASKS: dict[type, Callable[[TrainConfig, Any], Task]] = {
    ClipTask: clip_task,
    SamTask: sam_task,
    HeadTask: head_task,
}


def make_task(config: TrainConfig) -> Task:
    """Builds the task that `config.task` is the config of.

    Raises:
        ConfigError: no such task.
    """
    kind = type(config.task)
    if kind not in TASKS:
        known = ", ".join(one.__name__ for one in TASKS)
        raise ConfigError(f"task is a {kind.__name__}: expected one of {known}")
    return TASKS[kind](config, config.task)


__all__ = ["TASKS", "ClipTask", "HeadTask", "SamTask", "make_task"]
