"""Alternating runs, the floor of a program, peak memory, tables and JSON."""

import contextlib
import ctypes
import gc
import importlib.metadata
import json
import math
import multiprocessing
import os
import pathlib
import platform
import resource
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

from zsas_jax.ops import fused_attention

PACKAGES = ("zsas_jax", "jax", "flax", "torch", "transformers", "numpy")

Row = dict[str, Any]


def alternate(
    runs: Mapping[str, Callable[[], Any]], repeats: int, *, warm: bool = False
) -> dict[str, list[float]]:
    """Seconds of every run, taken in turn, after one run of each unless they are warm already."""
    if not warm:
        for run in runs.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def time_rows(
    seconds: Mapping[str, list[float]],
    labels: Row,
    *,
    first: str = "ours",
    items: int = 1,
    floor: float | None = None,
) -> list[Row]:
    """One row per run: median and spread in seconds per item, ratio to the run named `first`.

    The ratio is the median over rounds of a round's own ratio, so that a slow moment of the
    machine, which slows a whole round, does not show in it. `floor` is in seconds per item.
    """
    rows = []
    for name, times in seconds.items():
        ratios = [time / own for time, own in zip(times, seconds[first], strict=True)]
        per_item = [time / items for time in times]
        row = {
            **labels,
            "program": name,
            "seconds": statistics.median(per_item),
            "fastest": min(per_item),
            "slowest": max(per_item),
            f"times {first}": statistics.median(ratios),
        }
        if floor is not None:
            row["of floor"] = floor / statistics.median(per_item)
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
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def memory_above(run: Callable[[], Any]) -> float:
    """Bytes by which this process's memory grows at most while `run` is executed.

    On Linux the high-water mark is set back first; elsewhere an earlier peak may hide the growth.
    """
    # What is let go during the run, or was before and is still the allocator's, hides its growth.
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # Of glibc.
    try:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        before, _ = _resident()
    except OSError:
        before = max(_resident())
    run()
    return max(0.0, float(_resident()[1] - before))


def device_memory_above(run: Callable[[], Any]) -> tuple[Any, float | None]:
    """What `run` returns, and the bytes by which an accelerator's memory grows at most meanwhile.

    None on CPUs. JAX's high-water mark cannot be set back: 0 where JAX has needed more before.
    """
    stats = jax.devices()[0].memory_stats
    if jax.default_backend() == "cpu" or not stats():
        return run(), None
    torch = sys.modules.get("torch")
    torch = torch.cuda if torch and torch.cuda.is_available() else None
    before, peer = stats(), 0
    if torch:
        torch.reset_peak_memory_stats()
        peer = torch.memory_allocated()
    result = run()
    after = stats()
    grown = after["peak_bytes_in_use"] > before["peak_bytes_in_use"]
    ours = after["peak_bytes_in_use"] - before["bytes_in_use"] if grown else 0
    return result, float(max(ours, torch.max_memory_allocated() - peer if torch else 0))


def _resident() -> tuple[int, int]:
    """Bytes now and at most so far."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return peak, peak
    found = {line.split(":")[0]: line.split(":")[1] for line in lines}
    now, peak = (int(found[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def machine() -> Row:
    """What the figures were measured on: processor, cores, device and versions."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "command": " ".join(["python -m zsas_jax.benchmarks", *sys.argv[1:]]),
    }


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def table(rows: list[Row]) -> str:
    """A Markdown table; columns in the order in which rows first name them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns] + [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def report(rows: list[Row], output: pathlib.Path | None = None) -> None:
    """Prints the machine and the table, and writes both as JSON where `output` is given."""
    facts = machine()
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    print(f"{facts['processor']}, {facts['cores']} cores, device {facts['device']}; {versions}")
    print(table(rows))
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")
