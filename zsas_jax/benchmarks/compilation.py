"""Compile time of the whole program in new processes: cold, and from the compilation cache."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

from zsas_jax.benchmarks import timing
from zsas_jax.benchmarks.pipeline import canvas_side, config_of
from zsas_jax.cli.common import set_up_xla
from zsas_jax.compilation import lower
from zsas_jax.networks.base import abstract_model


def main(
    model: str = "b",
    batch_size: int = 1,
    image_side: int = 0,
    repeats: int = 3,
    output: pathlib.Path | None = None,
) -> None:
    """Prints seconds of tracing and of compiling or reading, in processes that share a new cache.

    The first process finds the cache empty. No weights are needed and nothing is computed.

    Args:
        model: tiny, or b, l, h: CLIP ViT-L/14@336 at 518 and SAM of that size.
        batch_size: photos in a batch.
        image_side: of the canvas in pixels; default 256 for tiny and 1024 for the others.
        repeats: processes that find the program in the cache.
        output: a JSON file for the figures.
    """
    side = image_side or canvas_side(model)
    call = f"from {__name__} import compile_once; compile_once({model!r}, {batch_size}, {side})"
    rows: list[timing.Row] = []
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
        for number in range(1 + repeats):
            done = subprocess.run(
                [sys.executable, "-c", call],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            tracing, compiling = (float(word) for word in done.stdout.split()[-2:])
            labels = {"model": model, "batch": batch_size, "cache": "found" if number else "empty"}
            rows.append({**labels, "tracing s": tracing, "compiling or reading s": compiling})
    timing.report(rows, output)


def compile_once(model: str, batch_size: int, side: int) -> None:
    """Prints the seconds of tracing and lowering, and of compiling or reading the cache."""
    set_up_xla()
    config = config_of(model)
    networks = abstract_model(config)
    started = time.perf_counter()
    lowered = lower(networks, (side, side), batch_size, config.pipeline)
    traced = time.perf_counter()
    lowered.compile()
    print(traced - started, time.perf_counter() - traced)
