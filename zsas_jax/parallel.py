"""`segment` over several devices: each takes its share of the batch, nobody talks to anybody."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zsas_jax import pipeline
from zsas_jax.config import PipelineConfig
from zsas_jax.errors import ConfigError

AXIS = "data"


def local_devices(count: int | None = None) -> list[jax.Device]:
    """The first `count` devices of this process, by default all.

    Raises:
        ConfigError: more than there are, or fewer than one.
    """
    devices = jax.local_devices()
    count = len(devices) if count is None else count
    if not 1 <= count <= len(devices):
        raise ConfigError(f"devices is {count}: expected 1 to {len(devices)}, this machine's")
    return devices[:count]


def data_parallel(model: Any, devices: Sequence[jax.Device]) -> Callable[..., Any]:
    """`segment` without its model argument, on these devices; the model is copied to each.

    The batch's length must be a multiple of the number of devices. Results are those of one
    device: a photo's result does not depend on the batch that it is in.
    """
    if len(devices) == 1:
        return lambda *arrays, config: pipeline.segment(model, *arrays, config=config)
    mesh = Mesh(np.array(devices), (AXIS,))
    everywhere, shared_out = PartitionSpec(), PartitionSpec(AXIS)
    copies = jax.device_put(model, NamedSharding(mesh, everywhere))
    sharding = NamedSharding(mesh, shared_out)
    programs: dict[PipelineConfig, Callable[..., Any]] = {}

    def run(*arrays: Any, config: PipelineConfig) -> Any:
        if config not in programs:
            # No replicated output, and the loops inside carry none: nothing for JAX to check.
            programs[config] = jax.jit(
                jax.shard_map(
                    partial(pipeline.segment, config=config),
                    mesh=mesh,
                    in_specs=(everywhere, *[shared_out] * len(arrays)),
                    out_specs=shared_out,
                    check_vma=False,
                )
            )
        placed = [jax.device_put(array, sharding) for array in arrays]
        return programs[config](copies, *placed)

    return run
