"""The parameters of a checkpoint directory on disk, in little memory beside their own.

Orbax writes them. They are read with TensorStore, which Orbax writes with, out of mapped files
straight into the memory they stay in; Orbax's restore copies three times: from the file into a
buffer, from there into an array, and from there to the device.
"""

import collections
import dataclasses
import math
import mmap
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore
from flax import nnx

from zsas_jax.errors import CheckpointError
from zsas_jax.model import Model
from zsas_jax.ops.layers import parameter_dtype

# Orbax holds this much beside the arrays themselves while it writes, GB.
SAVE_GB = 0.15
# Arrays that are read at the same time: as many files' pages are resident beside the arrays.
READ_AT_ONCE = 4
# Nobody writes meanwhile, and an array whose data is gone is an error.
_TRUSTED = {
    "recheck_cached_metadata": False,
    "recheck_cached_data": False,
    "fill_missing_data_reads": False,
}


@dataclasses.dataclass(frozen=True)
class Target:
    """What an array becomes: its shape, dtype (None: the stored one) and place."""

    shape: tuple[int, ...]
    dtype: jax.typing.DTypeLike | None
    sharding: jax.sharding.Sharding


def save_arrays(directory: pathlib.Path, arrays: Any) -> None:
    """Writes a tree of JAX arrays into a new directory."""
    # Slow to import, and reading does not need it.
    import orbax.checkpoint as ocp

    largest = max((leaf.nbytes for leaf in jax.tree.leaves(arrays)), default=0)
    handler = ocp.PyTreeCheckpointHandler(
        save_concurrent_gb=max(SAVE_GB, 1.1 * largest / 1e9),  # pyright: ignore[reportArgumentType]
        use_ocdbt=True,
        use_zarr3=False,
        use_compression=False,  # trained weights are noise: it costs time and saves nothing
    )
    # Of several processes only the one that calls this writes; the others are not waited for.
    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=process,
        active_processes={process},
        barrier_sync_key_prefix=f"process{process}",
    )
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        checkpointer.save(directory, args=ocp.args.PyTreeSave(arrays))
    # Orbax notes the absolute path here, which would tell where the checkpoint was made.
    for mark in directory.rglob("commit_success.txt"):
        mark.write_text("complete\n")


def array_targets(state: nnx.State, dtype: Any, place: Any) -> nnx.State:
    """The state with a `Target` for every array."""

    def target(leaf: jax.ShapeDtypeStruct) -> Target:
        stored = None if dtype is None else parameter_dtype(leaf.shape, dtype)
        return Target(leaf.shape, stored, place(leaf.shape))

    return jax.tree.map(target, state)


def stored_arrays(params: pathlib.Path) -> dict[str, tensorstore.TensorStore]:
    """Name -> array (shape, dtype) of everything that `save_arrays` wrote; none is read yet.

    Raises:
        ValueError: damaged files.
    """
    context = tensorstore.Context(
        {"file_io_mode": {"mode": "memmap"}, "cache_pool": {"total_bytes_limit": 10**8}}
    )
    database = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{params.absolute()}/"}}
    keys = tensorstore.KvStore.open(database, context=context).result().list().result()
    opening = {
        name: tensorstore.open(
            {"driver": "zarr", "kvstore": {**database, "path": f"{name}/"}, **_TRUSTED},
            open=True,
            read=True,
            context=context,
        )
        for name in sorted({key.decode().rpartition("/")[0] for key in keys})
    }
    return {name: array.result() for name, array in opening.items()}


def restore_arrays(params: pathlib.Path, targets: Any, every: Model | None) -> Any:
    """The tree of targets as arrays, after a look at all names and shapes.

    `every` is the whole stored model where `targets` are a part of it.

    Raises:
        CheckpointError: other names or shapes, or damaged files.
    """
    described = f"{params} does not hold the parameters that its config.json describes"
    wanted = _by_name(targets)
    whole = wanted if every is None else _by_name(nnx.to_pure_dict(nnx.state(every)))
    expected = {name: tuple(leaf.shape) for name, leaf in whole.items()}
    try:
        stored = stored_arrays(params)
        found = {name: array.shape for name, array in stored.items()}
        different = [name for name in expected if found.get(name) != expected[name]]
        different += [name for name in found if name not in expected]
        if different:
            name = different[0]
            raise CheckpointError(
                f"{described}: {len(different)} differ, first {name}, found "
                f"{found.get(name)}, expected {expected.get(name)}"
            )
        arrays = _read(stored, wanted)
    except CheckpointError:
        raise
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{described}: {str(error).splitlines()[0][:200]}") from error
    return jax.tree.unflatten(jax.tree.structure(targets), arrays)


def _by_name(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {".".join(str(getattr(key, "key", key)) for key in path): leaf for path, leaf in leaves}


def _read(
    stored: Mapping[str, tensorstore.TensorStore], targets: Mapping[str, Target]
) -> list[jax.Array]:
    """The arrays in the order of the targets, some of them read at the same time."""
    result: list[jax.Array] = []
    under_way: collections.deque[Callable[[], jax.Array]] = collections.deque()
    for name, target in targets.items():
        if len(under_way) == READ_AT_ONCE:
            result.append(under_way.popleft()())
        under_way.append(_start(stored[name], target))
    return result + [finish() for finish in under_way]


def _start(array: tensorstore.TensorStore, target: Target) -> Callable[[], jax.Array]:
    """Begins to read the parts of this process's devices; what it returns waits for the end."""
    if target.dtype is not None:
        array = tensorstore.cast(array, jnp.dtype(target.dtype))
    parts: dict[str, tuple[np.ndarray, Any]] = {}
    for index in target.sharding.addressable_devices_indices_map(target.shape).values():
        if str(index) not in parts:
            part = array[index][tensorstore.d[:].translate_to[0]]
            memory = _memory(part.shape, array.dtype.numpy_dtype)
            parts[str(index)] = (memory, tensorstore.array(memory).write(part))

    def finish() -> jax.Array:
        for _, writing in parts.values():
            writing.result()
        return jax.make_array_from_callback(
            target.shape, target.sharding, lambda index: parts[str(index)][0]
        )

    return finish


def _memory(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Memory that XLA takes over on CPUs without a copy: it begins with a page."""
    size = math.prod(shape) * dtype.itemsize
    # Private pages are had faster than shared ones, Python's default.
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}
    pages = mmap.mmap(-1, max(size, 1), **private)
    return np.frombuffer(pages, dtype, math.prod(shape)).reshape(shape)
