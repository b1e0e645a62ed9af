"""The parameters of a checkpoint directory on disk, by Orbax, in little memory beside their own."""

import contextlib
import ctypes
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import nnx

from zsas_jax.errors import CheckpointError
from zsas_jax.model import Model

# Orbax holds this much beside the arrays themselves while it writes and while it reads, GB.
SAVE_GB, RESTORE_GB = 0.15, 0.4


def save_arrays(directory: pathlib.Path, arrays: Any) -> None:
    """Writes a tree of JAX arrays into a new directory."""
    largest = max((leaf.nbytes for leaf in jax.tree.leaves(arrays)), default=0)
    # Of several processes only the one that calls this writes; the others are not waited for.
    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=process,
        active_processes={process},
        barrier_sync_key_prefix=f"process{process}",
    )
    with ocp.Checkpointer(_handler(largest), multiprocessing_options=alone) as checkpointer:
        checkpointer.save(directory, args=ocp.args.PyTreeSave(arrays))
    # Orbax notes the absolute path here, which would tell where the checkpoint was made.
    for mark in directory.rglob("commit_success.txt"):
        mark.write_text("complete\n")


def _handler(largest: int = 0) -> ocp.PyTreeCheckpointHandler:
    """Reads and writes with little memory of its own, at least the `largest` array (bytes)."""
    least = 1.1 * largest / 1e9
    return ocp.PyTreeCheckpointHandler(
        save_concurrent_gb=max(SAVE_GB, least),  # pyright: ignore[reportArgumentType]
        restore_concurrent_gb=max(RESTORE_GB, least),  # pyright: ignore[reportArgumentType]
        use_compression=False,  # trained weights are noise: it costs time and saves nothing
    )


@contextlib.contextmanager
def _buffers_given_back() -> Iterator[None]:
    """Freed buffers of a megabyte or more go back to the system at once (glibc alone).

    By default glibc keeps those of up to 32 MB, the size of a layer, in every thread's own heap:
    a fifth of the weights at the end of a load. Afterwards that size applies again.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        yield
        return
    mmap_threshold = -3  # M_MMAP_THRESHOLD of malloc.h
    mallopt(mmap_threshold, 2**20)
    try:
        yield
    finally:
        mallopt(mmap_threshold, 2**25)


def array_targets(state: nnx.State, dtype: Any, place: Any) -> nnx.State:
    """What Orbax restores into: shape, sharding, and the dtype or None for the stored one."""

    def target(leaf: Any) -> ocp.ArrayRestoreArgs:
        return ocp.ArrayRestoreArgs(
            restore_type=jax.Array,
            dtype=dtype,
            sharding=place(leaf.shape),
            global_shape=leaf.shape,
            strict=True,
        )

    return jax.tree.map(target, state)


def stored_arrays(params: pathlib.Path) -> dict[str, Any]:
    """Name -> Orbax's metadata (shape, dtype) of every stored array; nothing is read."""
    with ocp.Checkpointer(_handler()) as checkpointer:
        tree = checkpointer.metadata(params).item_metadata.tree  # pyright: ignore
    return _by_name(tree)


def _by_name(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {".".join(str(getattr(key, "key", key)) for key in path): leaf for path, leaf in leaves}


def restore_arrays(params: pathlib.Path, targets: Any, every: Model | None) -> Any:
    """The stored arrays, after a look at their names and shapes: Orbax reads all at once, and
    would report every array that was on its way when one does not fit.

    `every` is the whole stored model where `targets` are a part of it.

    Raises:
        CheckpointError: other names or shapes, or damaged files.
    """
    described = f"{params} does not hold the parameters that its config.json describes"
    try:
        found = {name: tuple(leaf.shape) for name, leaf in stored_arrays(params).items()}
        if every is None:
            expected = {name: leaf.global_shape for name, leaf in _by_name(targets).items()}
        else:
            whole = nnx.to_pure_dict(nnx.state(every))
            expected = {name: leaf.shape for name, leaf in _by_name(whole).items()}
        different = [name for name in expected if found.get(name) != expected[name]]
        different += [name for name in found if name not in expected]
        if different:
            name = different[0]
            raise CheckpointError(
                f"{described}: {len(different)} differ, first {name}, found "
                f"{found.get(name)}, expected {expected.get(name)}"
            )
        # 8 bytes an element: what is stored and what it becomes are at most float32.
        largest = max((8 * math.prod(shape) for shape in expected.values()), default=0)
        with _buffers_given_back(), ocp.Checkpointer(_handler(largest)) as checkpointer:
            arguments = ocp.args.PyTreeRestore(
                item=targets, restore_args=targets, partial_restore=every is not None
            )
            return checkpointer.restore(params, args=arguments)
    except (ValueError, KeyError, OSError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{described}: {str(error).splitlines()[0][:200]}") from error
