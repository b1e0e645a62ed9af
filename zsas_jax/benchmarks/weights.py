"""Memory and time of converting and loading SAM H, each measured as a whole process.

    python -m zsas_jax.benchmarks weights [--size vit_b|vit_l|vit_h] [--directory DIR]

Random weights are written once as a transformers directory and as Meta's `.pth`; then one process
each converts them, loads the result, and computes a first embedding with this package and with
transformers. Peaks are the kernel's `ru_maxrss`, over the size of the float32 weights.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from zsas_jax.config import suggestion
from zsas_jax.errors import ConfigError

# SAM's sizes as transformers' vision_config.
SIZES = {
    "vit_b": {},
    "vit_l": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "global_attn_indexes": [5, 11, 17, 23],
    },
    "vit_h": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "global_attn_indexes": [7, 15, 23, 31],
    },
}

# What the child processes run; {place} is the directory with everything.
WRITE = """
import json, pathlib, re, safetensors.torch, torch, transformers
place, sizes = pathlib.Path({place!r}), {sizes!r}
with torch.device("meta"):
    model = transformers.SamModel(transformers.SamConfig(vision_config=sizes))
torch.manual_seed(0)
state = {{}}
for name, tensor in model.state_dict().items():
    scale = tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.1
    state[name] = scale * torch.randn(tensor.shape) + ("norm" in name and name.endswith("weight"))
copy = "prompt_encoder.shared_embedding.positional_embedding"
state[copy] = state["shared_image_embedding.positional_embedding"].clone()
(place / "hf").mkdir()
(place / "hf" / "config.json").write_text(model.config.to_json_string())
safetensors.torch.save_file(state, place / "hf" / "model.safetensors", metadata={{"format": "pt"}})
"""
TO_META = """
import pathlib, re, torch
from zsas_jax.networks.sam import SamConfig
from zsas_jax.networks.sam.convert import transformers_rules
from zsas_jax.convert.rules import apply_rename, native_names
from zsas_jax.checkpoints.identify import abstract_network
from zsas_jax.convert.files import open_weights
place = pathlib.Path({place!r})
tensors = open_weights(place / "hf")[0].tensors
config = SamConfig.{size}()
names = native_names(abstract_network(config)).values()
rules = transformers_rules(config)
theirs = {{name: apply_rename(name, rules).names[0] for name in names}}
state = {{name: torch.from_numpy(tensors[theirs[name]].read()) for name in names}}
torch.save(state, place / "meta.pth")
"""
CONVERT = """
from zsas_jax.cli.weights import main
main(["convert", "--sam", {source!r}, "--output", {output!r}, "--overwrite"])
"""
LOAD = """
import zsas_jax
zsas_jax.load({output!r})
"""
OURS = """
import time
from zsas_jax.cli.common import set_up_xla
set_up_xla()
import jax, numpy as np
from zsas_jax import load
from zsas_jax.networks.sam import encode_image
sam = load({output!r}).model.sam
pixels = np.random.default_rng(0).normal(size=(1, 1024, 1024, 3)).astype(np.float32)
encode = jax.jit(encode_image)
loaded = time.perf_counter()
encode(sam, pixels).block_until_ready()
first = time.perf_counter()
if {repeat}:
    encode(sam, pixels).block_until_ready()
print("SECONDS", loaded - {started}, first - {started}, time.perf_counter() - first)
"""
THEIRS = """
import time
import numpy as np, torch, transformers
sam = transformers.SamModel.from_pretrained({source!r})
pixels = torch.from_numpy(
    np.random.default_rng(0).normal(size=(1, 3, 1024, 1024)).astype(np.float32)
)
loaded = time.perf_counter()
with torch.no_grad():
    sam.get_image_embeddings(pixels)
    first = time.perf_counter()
    if {repeat}:
        sam.get_image_embeddings(pixels)
print("SECONDS", loaded - {started}, first - {started}, time.perf_counter() - first)
"""


def main(
    size: str = "vit_h",
    directory: pathlib.Path = pathlib.Path("runs/benchmark_weights"),
    runs: int = 1,
    embedding: bool = True,
) -> None:
    """Converting and loading a SAM of random weights: peak memory and time of whole processes.

    Args:
        size: vit_b, vit_l or vit_h.
        directory: where weights and conversions are written; taken away in the end.
        runs: processes per time; the smallest counts.
        embedding: also the time to a first embedding, which takes minutes of computing.
    """
    if size not in SIZES:
        raise ConfigError(f"--size is {size!r}{suggestion(size, SIZES)}")
    import jax  # Not before it is needed: the peaks are those of other processes.

    if embedding and jax.default_backend() != "cpu":
        raise ConfigError("the peer embeds on the CPU: expected --no-embedding on an accelerator")
    figures = measure(size, directory, runs, embedding)
    for name, value in figures.items():
        print(f"{name:40} {value:8.2f}")
    print(json.dumps(figures))


def measure(size: str, directory: pathlib.Path, runs: int, embedding: bool) -> dict[str, float]:
    """All figures by name: seconds, and peaks over the size of the weights."""
    place = directory.absolute()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    source, output = str(place / "hf"), str(place / "converted")
    values = {"place": str(place), "sizes": SIZES[size], "size": size}
    figures: dict[str, float] = {}
    try:
        _process(WRITE, **values)
        _process(TO_META, **values)
        stored = (place / "hf" / "model.safetensors").stat().st_size
        figures["weights_gb"] = stored / 1e9
        for name, path in (("meta", str(place / "meta.pth")), ("transformers", source)):
            seconds, peak, _ = _process(CONVERT, source=path, output=output)
            figures[f"convert_{name}_seconds"] = seconds
            figures[f"convert_{name}_peak_over_size"] = peak / stored
        loads = [_process(LOAD, output=output) for _ in range(runs)]
        figures["load_seconds"] = min(seconds for seconds, _, _ in loads)
        figures["load_peak_over_size"] = max(peak for _, peak, _ in loads) / stored
        for name, program in (("ours", OURS), ("transformers", THEIRS)) if embedding else ():
            # The first process fills the compilation cache and the file cache.
            paths = {"output": output, "source": source}
            _process(program, repeat=False, **paths)
            outcomes = [_process(program, repeat=True, **paths)[2] for _ in range(runs)]
            # Computing takes ten times as long as the rest: the smallest of each, lest its
            # spread decides.
            loaded, first, again = map(min, zip(*outcomes, strict=True))
            figures[f"{name}_loaded_seconds"] = loaded
            figures[f"{name}_first_embedding_seconds"] = first
            figures[f"{name}_compute_seconds"] = again
            figures[f"{name}_start_seconds"] = first - again
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return figures


def _process(program: str, **values: object) -> tuple[float, int, list[float]]:
    """Seconds, peak bytes of memory, and the numbers that a program prints after SECONDS."""
    # This clock is the same for all processes of a machine, so that the child counts from here.
    started = time.perf_counter()
    program = program.format(started=started, **values)
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"a measured process failed with exit code {child.returncode}")
    line = next((line for line in output.splitlines() if line.startswith("SECONDS")), "")
    kilobytes = 1024 if sys.platform.startswith("linux") else 1
    peak = usage.ru_maxrss * kilobytes
    return time.perf_counter() - started, peak, [float(word) for word in line.split()[1:]]
