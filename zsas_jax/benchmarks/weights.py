"""Memory and time of converting and loading a SAM, each measured as a whole process."""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import NamedTuple

from zsas_jax.benchmarks import timing
from zsas_jax.benchmarks.results import Row
from zsas_jax.config import suggestion
from zsas_jax.errors import ConfigError
from zsas_jax.networks import sam

CONVERTING = "What do converting and loading take?"
STARTING = "How long is it from a process's start to its first embedding?"

# What the measured processes run; neither side imports what it does not need.
CONVERT = f"""
from zsas_jax.__main__ import main
assert main(["weights", "convert", "--{sam.NETWORK.name}", {{source!r}}, "--output", {{output!r}},
             "--overwrite"]) == 0
"""
LOAD = """
import zsas_jax
zsas_jax.load({output!r})
"""
OURS = """
import jax, numpy as np, time
from zsas_jax import load
from zsas_jax.networks.sam import encode_image
sam = load({output!r}).model.sam
pixels = np.random.default_rng(0).normal(size=(1, {side}, {side}, 3)).astype(np.float32)
encode = jax.jit(encode_image)
marks.append(time.perf_counter())
for _ in range(2):
    encode(sam, pixels).block_until_ready()
    marks.append(time.perf_counter())
"""
THEIRS = """
import numpy as np, time, torch, transformers
sam = transformers.SamModel.from_pretrained({source!r})
pixels = np.random.default_rng(0).normal(size=(1, 3, {side}, {side})).astype(np.float32)
pixels = torch.from_numpy(pixels)
marks.append(time.perf_counter())
with torch.no_grad():
    for _ in range(2):
        sam.get_image_embeddings(pixels)
        marks.append(time.perf_counter())
"""
# A process's own high-water mark; `ru_maxrss` begins with its parent's.
MEASURED = """
import pathlib, time
marks = []
{program}
marks.append(time.perf_counter())
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print("MEASURED", 1024 * peak, *marks)
"""


class Process(NamedTuple):
    """Of one that ran to its end: seconds from its start to each mark, and bytes at most."""

    seconds: list[float]
    peak: int


def measure(size: str, repeats: int, embedding: bool) -> list[Row]:
    """Rows of seconds and of peak memory over the size of the float32 weights, which are random.

    Args:
        size: a preset of SAM.
        repeats: alternating rounds, after one that fills the caches of files and programs.
        embedding: also the time to a first embedding, on the CPU for both.

    Raises:
        ConfigError: an unknown size, or a system without /proc.
    """
    if size not in sam.PRESETS:
        raise ConfigError(f"--size is {size!r}{suggestion(size, sam.PRESETS)}")
    if not pathlib.Path("/proc/self/status").exists():
        raise ConfigError("peaks are read from /proc, which is not here: expected Linux")
    from zsas_jax.benchmarks.torch_weights import write_published

    with tempfile.TemporaryDirectory() as directory:
        place = pathlib.Path(directory)
        (place / "hf").mkdir()
        timing.in_new_process(write_published, size, place)
        source, output = str(place / "hf"), str(place / "converted")
        values = {"source": source, "output": output, "side": sam.PRESETS[size].image_size}
        programs = {
            "convert Meta's .pth": (CONVERT, values | {"source": str(place / "meta.pth")}),
            "convert a transformers directory": (CONVERT, values),
            "load": (LOAD, values),
        }
        stored = (place / "hf" / "model.safetensors").stat().st_size
        rows: list[Row] = []
        for name, runs in _in_turn(programs, repeats).items():
            seconds = statistics.median(run.seconds[-1] for run in runs)
            peak = statistics.median(run.peak for run in runs) / stored
            rows.append({"question": CONVERTING, "size": size, "program": name})
            rows[-1] |= {"seconds": seconds, "peak / weights": peak}
        if embedding:
            peers = {"ours": (OURS, values), "transformers": (THEIRS, values)}
            for name, runs in _in_turn(peers, repeats).items():
                loaded, first, again, _ = zip(*(run.seconds for run in runs), strict=True)
                computing = [b - a for a, b in zip(first, again, strict=True)]
                rest = [b - a for a, b in zip(computing, first, strict=True)]
                columns = {"loaded": loaded, "first embedding": first, "computing": computing}
                columns["first less computing"] = rest
                medians = {column: statistics.median(each) for column, each in columns.items()}
                rows.append({"question": STARTING, "size": size, "program": name, **medians})
    return rows


def _in_turn(
    programs: Mapping[str, tuple[str, Mapping[str, object]]], repeats: int
) -> dict[str, list[Process]]:
    found: dict[str, list[Process]] = {name: [] for name in programs}
    for _ in range(1 + repeats):
        for name, (program, values) in programs.items():
            found[name].append(_process(program.format(**values)))
    return {name: processes[1:] for name, processes in found.items()}


def _process(program: str) -> Process:
    # This clock is the same for all processes of a machine, so that it counts from here.
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.format(program=program)],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("MEASURED"))
    peak, *marks = (float(word) for word in line.split()[1:])
    return Process([mark - started for mark in marks], int(peak))
