"""Where a training run computes: one mesh of devices, over one or several processes.

A batch is split along its first axis, everything trained is copied to every device. The loss is
written over the whole batch, and XLA adds what the devices have to tell one another, so that the
result does not depend on how many there are.
"""

from typing import Any

import grain
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zsas_jax.errors import ConfigError

AXIS = "data"


class Devices:
    """All devices of all processes, or the first `count` of this one.

    Raises:
        ConfigError: more devices than there are, or a choice of them in a run of several processes.
    """

    def __init__(self, count: int | None = None):
        devices = jax.devices()
        if count is not None:
            if jax.process_count() > 1 and count != len(devices):
                raise ConfigError(
                    f"devices is {count} in a run of {jax.process_count()} processes: expected "
                    f"none, for all {len(devices)}"
                )
            if not 1 <= count <= len(devices):
                raise ConfigError(f"devices is {count}: expected 1 to {len(devices)}")
            devices = devices[:count]
        mesh = Mesh(np.array(devices), (AXIS,))
        self.count = len(devices)
        self.copied = NamedSharding(mesh, PartitionSpec())
        self.split = NamedSharding(mesh, PartitionSpec(AXIS))

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files."""
        return jax.process_index() == 0

    def check_batch(self, batch_size: int, parts: int = 1) -> None:
        """Refuses a batch that the devices (or the parts that follow one another) cannot share.

        Raises:
            ConfigError: with the numbers.
        """
        if batch_size % (self.count * parts):
            each = f" of {parts} parts each" if parts > 1 else ""
            raise ConfigError(
                f"batch_size is {batch_size}: expected a multiple of the {self.count} devices{each}"
                " (--devices takes fewer)"
            )

    def place_batch(self, batch: Any) -> Any:
        """This process's rows of a batch as part of one array over all devices."""
        if jax.process_count() == 1:
            return jax.device_put(batch, self.split)
        return jax.tree.map(
            lambda rows: jax.make_array_from_process_local_data(self.split, np.asarray(rows)), batch
        )

    def copy(self, tree: Any) -> Any:
        """The arrays on every device; every process has to bring the same values."""
        return jax.tree.map(lambda leaf: self._place(leaf, self.copied), tree)

    def place_frozen(self, tree: Any, shard: bool) -> Any:
        """The arrays on every device, or each split along its longest axis that they divide."""

        def place(leaf: Any) -> jax.Array:
            axes = [axis for axis, size in enumerate(leaf.shape) if size % self.count == 0]
            if not shard or not axes:
                return self._place(leaf, self.copied)
            longest = max(axes, key=lambda axis: leaf.shape[axis])
            spec = PartitionSpec(*[None] * longest, AXIS)
            return self._place(leaf, NamedSharding(self.copied.mesh, spec))

        return jax.tree.map(place, tree)

    def _place(self, leaf: Any, sharding: NamedSharding) -> jax.Array:
        if jax.process_count() == 1:
            return jax.device_put(leaf, sharding)
        values = np.asarray(leaf)
        return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process; all of them have to ask."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def wait_for_all(name: str) -> None:
    """Returns when every process has come to this place."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def connect(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Joins the processes of a run on several hosts; None is taken from the cluster's environment.

    Has to come before anything is computed.

    Raises:
        ConfigError: an incomplete description, or a coordinator that does not answer.
    """
    if coordinator is not None and (processes is None or process is None):
        raise ConfigError(
            f"--coordinator {coordinator} came alone: expected --num-processes and --process-id too"
        )
    if coordinator is not None and not 0 <= (process or 0) < (processes or 0):
        raise ConfigError(f"--process-id is {process}: expected 0 to {(processes or 0) - 1}")
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"the processes of the run cannot be joined ({reason}): expected a cluster that JAX "
            "knows, or --coordinator HOST:PORT, --num-processes and --process-id"
        ) from error


def local_batches(samples: grain.MapDataset, batch_size: int) -> grain.MapDataset:
    """This process's rows of each batch of `batch_size`: together the same batches at any count.

    Raises:
        ConfigError: a batch that the processes cannot share.
    """
    processes = jax.process_count()
    if batch_size % processes:
        raise ConfigError(
            f"batch_size is {batch_size}: expected a multiple of the {processes} processes"
        )
    batches = samples.batch(batch_size // processes, drop_remainder=True)
    return batches if processes == 1 else batches[jax.process_index() :: processes]
