"""A whole method, photos in and maps out, against a PyTorch pipeline of the same steps."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from zsas_jax.benchmarks import setups, timing
from zsas_jax.benchmarks.results import Row
from zsas_jax.benchmarks.setups import Setup
from zsas_jax.checkpoints import Compute
from zsas_jax.methods import find_method
from zsas_jax.ops.layers import cast_parameters
from zsas_jax.segment import segment

QUESTION = "How long does a photo take, from host to host?"
OURS = "ours"


def measure(
    model: str,
    batch_sizes: Sequence[int],
    image_side: int | None,
    programs: Sequence[str],
    repeats: int,
    dtype: Literal["float32", "bfloat16"],
) -> list[Row]:
    """Rows of seconds per photo of the generator's pictures.

    Args:
        model: see `load_setup`.
        batch_sizes: photos of a run.
        image_side: of the photos, pixels; None: what suits the model.
        programs: peers; torch: PyTorch; compiled: its encoders under torch.compile.
        repeats: alternating rounds.
        dtype: what the networks compute in.
    """
    setup = setups.load_setup(model)
    rate = timing.matrix_rate(dtype=jnp.dtype(dtype))
    rows: list[Row] = []
    for batch_size in batch_sizes:
        images = setups.pictures(batch_size, image_side or setup.side)
        ours = run_ours(setup, images, Compute(dtype))
        floor = operations(setup, images) / rate / batch_size
        runs: dict[str, timing.Run] = {OURS: ours}
        for program in programs:
            from zsas_jax.benchmarks.torch_pipeline import run_torch

            runs[program] = run_torch(setup, images, dtype, compiled=program == "compiled")
        labels = {"question": QUESTION, "model": model, "dtype": dtype, "batch": batch_size}
        found = timing.compare(runs, repeats, labels, items=batch_size, floor=floor)
        if jax.default_backend() != "cpu":
            for row in found:
                used = timing.memory_above(runs[row["program"]])
                row["GiB above weights"] = used and used / 2**30
        head = timing.alternate({OURS: ours, "its head": run_head(setup, images, dtype)}, repeats)
        rows += [*found, timing.time_rows(head, labels, items=batch_size)[1]]
    return rows


def run_ours(
    setup: Setup, images: np.ndarray, compute: Compute
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """One run from host arrays to host arrays: maps and scores."""
    photos, rows = setup.inputs(images)
    networks = cast_parameters(setup.bundle.model, compute.dtype)
    static: dict[str, Any] = {"method": setup.method, "config": setup.config, "compute": compute}

    def run() -> tuple[np.ndarray, np.ndarray]:
        found = segment(networks, photos, rows, **static)
        return np.asarray(found.anomaly_map), np.asarray(found.image_score)

    return run


def run_head(setup: Setup, images: np.ndarray, dtype: str) -> timing.Run:
    """Our head alone, compiled already: what is left of a photo's time is the refiner's."""
    head = find_method(setup.method).head
    assert head is not None
    photos, rows = setup.inputs(images)
    networks = cast_parameters(setup.bundle.model, dtype)
    program = jax.jit(head.rough, static_argnums=3)

    def run() -> Any:
        return jax.block_until_ready(program(networks, photos, rows, setup.config.head))

    run()
    return run


def operations(setup: Setup, images: np.ndarray) -> float:
    """Floating point operations of the matrix products of our program."""
    photos, rows = setup.inputs(images)
    return timing.matrix_operations(
        lambda networks: segment(
            networks, photos, rows, method=setup.method, config=setup.config, compute=Compute()
        ),
        setup.bundle.model,
    )
