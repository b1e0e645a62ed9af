"""`segment` over several devices: each takes its share of the batch, nobody talks to anybody."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zsas_jax.errors import ConfigError
from zsas_jax.methods.base import Maps, Photos
from zsas_jax.networks import Networks
from zsas_jax.segment import segment

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


def data_parallel(networks: Networks, devices: Sequence[jax.Device]) -> Callable[..., Maps]:
    """`segment` without its first argument, on these devices; the networks are copied to each.

    The batch's length must be a multiple of the number of devices. Results are those of one
    device: a photo's result does not depend on the batch that it is in.
    """
    if len(devices) == 1:
        return partial(segment, networks)
    mesh = Mesh(np.array(devices), (AXIS,))
    everywhere, shared_out = PartitionSpec(), PartitionSpec(AXIS)
    copies = jax.device_put(networks, NamedSharding(mesh, everywhere))
    sharding = NamedSharding(mesh, shared_out)
    programs: dict[tuple[Any, ...], Callable[..., Maps]] = {}

    def run(photos: Photos, context: Any, **static: Any) -> Maps:
        key = tuple(sorted(static.items()))
        if key not in programs:
            # No replicated output, and the loops inside carry none: nothing for JAX to check.
            programs[key] = jax.jit(
                jax.shard_map(
                    partial(segment, **static),
                    mesh=mesh,
                    in_specs=(everywhere, shared_out, shared_out),
                    out_specs=shared_out,
                    check_vma=False,
                )
            )
        return programs[key](copies, *jax.device_put((photos, context), sharding))

    return run
