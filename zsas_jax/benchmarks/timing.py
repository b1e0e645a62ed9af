"""Runs in turn, the floor of a program, peak memory."""

import concurrent.futures
import contextlib
import ctypes
import gc
import math
import multiprocessing
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from zsas_jax.benchmarks.results import Row
from zsas_jax.ops import fused_attention

Run = Callable[[], Any]


def compare(
    runs: Mapping[str, Run],
    repeats: int,
    labels: Mapping[str, Any],
    *,
    items: int = 1,
    floor: float | None = None,
) -> list[Row]:
    """One row per program: seconds, ratio to the first program, how far its result is from it.

    Every program runs once to warm up, which gives the result, then `repeats` times in turn with
    the others. The difference is the mean one over the mean size of the first program's result.

    Args:
        runs: program -> a run that returns an array, or a pytree of arrays, on the host.
        repeats: rounds.
        labels: the first columns.
        items: photos of a run; seconds are per photo.
        floor: seconds per item that matrix products alone take.
    """
    values = {name: _flat(run()) for name, run in runs.items()}
    first = next(iter(runs))
    expected = values[first]
    size = np.abs(expected).mean() or 1.0
    rows = time_rows(alternate(runs, repeats), labels, items=items, floor=floor)
    for row in rows:
        row["difference"] = float(np.abs(values[row["program"]] - expected).mean() / size)
    return rows


def _flat(value: Any) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in jax.tree.leaves(value)])


def alternate(runs: Mapping[str, Run], repeats: int) -> dict[str, list[float]]:
    """Seconds of every run, taken in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def time_rows(
    seconds: Mapping[str, list[float]],
    labels: Mapping[str, Any],
    *,
    items: int = 1,
    floor: float | None = None,
) -> list[Row]:
    """One row per run: median and spread in seconds per item, ratio to the first run.

    The ratio is the median over rounds of a round's own ratio, so that a slow moment of the
    machine, which slows a whole round, does not show in it. `floor` is in seconds per item.
    """
    first = next(iter(seconds))
    rows = []
    for name, times in seconds.items():
        median = statistics.median(times) / items
        ratios = [time / own for time, own in zip(times, seconds[first], strict=True)]
        row = {
            **labels,
            "program": name,
            "seconds": median,
            "fastest": min(times) / items,
            "slowest": max(times) / items,
            f"times {first}": statistics.median(ratios),
        }
        if floor is not None:
            row["of floor"] = floor / median
        rows.append(row)
    return rows


def matrix_rate(side: int = 0, repeats: int = 5, dtype: Any = jnp.float32) -> float:
    """Floating point operations per second of a large matrix product, the best of `repeats`.

    `side` 0 is one that fills the device. Accelerators get several products at a time: starting
    one takes as long as a good part of it.
    """
    on_cpu = jax.default_backend() == "cpu"
    side, products = side or (3072 if on_cpu else 8192), 1 if on_cpu else 20
    key = jax.random.key(0)
    left, right = (jax.random.normal(k, (side, side), dtype) for k in jax.random.split(key))
    # On CPUs sums of narrow products are float32, as in the networks.
    product = jax.jit(partial(jnp.matmul, preferred_element_type=jnp.float32 if on_cpu else None))
    result = product(left, right).block_until_ready()
    best = math.inf
    for _ in range(repeats):
        started = time.perf_counter()
        for _ in range(products):  # One after the other on the device.
            result = product(left, right)
        result.block_until_ready()
        best = min(best, time.perf_counter() - started)
    return 2 * products * side**3 / best


def matrix_operations(function: Callable, *arguments: Any, **options: Any) -> float:
    """Floating point operations of a program's matrix products and convolutions.

    Loops count as often as they run where that is static, else once; of alternatives the largest.
    Fused attention hides its products and computes more than the attention needs: it is counted as
    the plain one.
    """
    if jax.default_backend() == "cpu":
        return _operations(jax.make_jaxpr(function, **options)(*arguments).jaxpr)
    jax.clear_caches()  # Traces of one kind of attention are none of the other's.
    with mock.patch.object(fused_attention, "is_available", return_value=False):
        total = _operations(jax.make_jaxpr(function, **options)(*arguments).jaxpr)
    jax.clear_caches()
    return total


def _operations(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            depth = math.prod(left[axis] for axis in contracted)
            total += 2 * depth * equation.outvars[0].aval.size
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            outputs = equation.params["dimension_numbers"].rhs_spec[0]
            total += 2 * math.prod(kernel) / kernel[outputs] * equation.outvars[0].aval.size
        elif name == "cond":
            total += max(_operations(branch.jaxpr) for branch in equation.params["branches"])
        else:
            times = equation.params.get("length", 1) if name == "scan" else 1
            total += times * sum(_operations(inner) for inner in _inner(equation.params))
    return total


def _inner(parameters: Mapping[str, Any]) -> Iterable[Any]:
    for value in parameters.values():
        if hasattr(value, "eqns"):
            yield value
        elif hasattr(value, "jaxpr") and hasattr(value.jaxpr, "eqns"):
            yield value.jaxpr


def in_new_process(function: Callable, *arguments: Any) -> Any:
    """The result of a module's function, computed by a fresh interpreter."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def memory_above(run: Run) -> float | None:
    """Bytes by which memory grows at most while `run` is executed, beyond what was in use.

    Of the accelerator where there is one (0 where JAX has needed more before: its high-water mark
    cannot be set back), else of this process; None where neither is known.
    """
    # What is let go during the run, or was before and is still the allocator's, hides its growth.
    gc.collect()
    if jax.default_backend() != "cpu":
        return _device_memory_above(run)
    status, marks = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")
    if not status.exists():
        return None
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # Of glibc.

    def resident(name: str) -> int:
        lines = status.read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

    try:
        marks.write_text("5")  # Sets the high-water mark back.
        before = resident("VmRSS")
    except OSError:
        before = resident("VmHWM")
    run()
    return float(max(0, resident("VmHWM") - before))


def _device_memory_above(run: Run) -> float | None:
    stats = jax.devices()[0].memory_stats
    if not stats():
        return None
    torch = sys.modules.get("torch")
    torch = torch.cuda if torch and torch.cuda.is_available() else None
    before, peer = stats(), 0
    if torch:
        torch.reset_peak_memory_stats()
        peer = torch.memory_allocated()
    run()
    after = stats()
    grown = after["peak_bytes_in_use"] > before["peak_bytes_in_use"]
    ours = after["peak_bytes_in_use"] - before["bytes_in_use"] if grown else 0
    return float(max(ours, torch.max_memory_allocated() - peer if torch else 0))
