"""The parameters of a checkpoint directory on disk, in little memory beside their own.

One safetensors file, one tensor per leaf of the networks, named by its path. They are read with
plain reads, one tensor (or the part of it that belongs to a device) at a time.
"""

import pathlib
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import nnx

from zsas_jax.checkpoints.sharding import parameter_sharding
from zsas_jax.errors import CheckpointError
from zsas_jax.networks import Networks
from zsas_jax.ops.layers import parameter_dtype

FILE = "model.safetensors"


def save_arrays(directory: pathlib.Path, networks: Networks) -> None:
    """Writes the parameters and buffers of networks."""
    arrays = {name: np.asarray(leaf) for name, leaf in by_name(networks).items()}
    safetensors.numpy.save_file(arrays, directory / FILE)


def stored_arrays(directory: pathlib.Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Name -> shape and safetensors' name of the dtype of everything that is stored.

    Raises:
        CheckpointError: a damaged file.
    """
    try:
        with _open(directory) as stored:
            parts = {name: stored.get_slice(name) for name in stored.keys()}  # noqa: SIM118
            return {name: (tuple(s.get_shape()), s.get_dtype()) for name, s in parts.items()}
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(directory, error) from error


def restore_arrays(
    directory: pathlib.Path,
    target: Networks,
    dtype: jax.typing.DTypeLike | None = None,
    mesh: jax.sharding.Mesh | None = None,
) -> Networks:
    """The abstract networks with their arrays, after a look at all names and shapes.

    Networks of the file that the target lacks are not read.

    Raises:
        CheckpointError: other names or shapes, or a damaged file.
    """
    leaves = by_name(target)
    stored = stored_arrays(directory)
    expected = {name: tuple(leaf.shape) for name, leaf in leaves.items()}
    found = {name: shape for name, (shape, _) in stored.items() if _top(name) in target.names}
    different = [name for name in expected | found if found.get(name) != expected.get(name)]
    if different:
        name = different[0]
        raise CheckpointError(
            f"{directory / FILE} does not hold the networks that config.json describes: "
            f"{len(different)} tensors differ, first {name}, found {found.get(name)}, expected "
            f"{expected.get(name)}"
        )
    graphdef, state = nnx.split(target)
    place = parameter_sharding(mesh)
    read = []
    try:
        with _open(directory) as file:
            for path, variable in nnx.to_flat_state(state):
                shape = tuple(variable.get_value().shape)
                wanted = None
                if dtype is not None and isinstance(variable, nnx.Param):
                    wanted = parameter_dtype(shape, dtype)
                array = _read(file, _name(path), wanted, place(shape))
                read.append((path, variable.replace(array)))
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(directory, error) from error
    return nnx.merge(graphdef, nnx.from_flat_state(read))


def by_name(networks: Networks) -> dict[str, Any]:
    """Name of every leaf, such as "clip.visual.proj" -> array."""
    return {
        _name(path): variable.get_value()
        for path, variable in nnx.to_flat_state(nnx.state(networks))
    }


def _name(path: tuple) -> str:
    return ".".join(map(str, path))


def _top(name: str) -> str:
    return name.partition(".")[0]


def _open(directory: pathlib.Path) -> Any:
    return safetensors.safe_open(directory / FILE, "numpy", backend="pread")


def _read(file: Any, name: str, dtype: Any, sharding: jax.sharding.Sharding) -> jax.Array:
    """One tensor, each part of it read for the device that it goes to."""
    part = file.get_slice(name)
    shape = tuple(part.get_shape())

    def read(index: tuple[slice, ...] | None) -> np.ndarray:
        whole = index is None or all(piece == slice(None) for piece in index)
        array = file.get_tensor(name) if whole else part[index]
        return array if dtype is None else array.astype(dtype, copy=False)

    return jax.make_array_from_callback(shape, sharding, read)


def _damaged(directory: pathlib.Path, error: Exception) -> CheckpointError:
    first = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return CheckpointError(f"{directory / FILE} is damaged: expected a safetensors file ({first})")
