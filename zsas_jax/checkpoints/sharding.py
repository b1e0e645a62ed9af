"""How the arrays of a checkpoint are laid out over a mesh of devices."""

import math
from collections.abc import Callable

import jax
from jax.sharding import (
    AbstractMesh,
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    SingleDeviceSharding,
)

# The mesh axis over which parameters are split; every other axis holds copies.
MODEL_AXIS = "model"
SMALLEST_SPLIT = 2**16  # elements: below, a copy costs less than gathering


def parameter_sharding(mesh: Mesh | AbstractMesh | None) -> Callable[[tuple[int, ...]], Sharding]:
    """Shape of an array -> its sharding.

    With a mesh axis "model", large arrays are split along their longest axis that it divides;
    everything else is copied to every device. Without a mesh, all is on the first local device.
    """
    if mesh is None:
        single = SingleDeviceSharding(jax.local_devices()[0])
        return lambda shape: single
    parts = dict(mesh.shape).get(MODEL_AXIS, 1)

    def place(shape: tuple[int, ...]) -> Sharding:
        axes = [axis for axis, size in enumerate(shape) if size % parts == 0]
        if parts == 1 or not axes or math.prod(shape) < SMALLEST_SPLIT:
            return NamedSharding(mesh, PartitionSpec())
        longest = max(axes, key=lambda axis: shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, MODEL_AXIS))

    return place
