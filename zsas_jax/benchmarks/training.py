"""Training of UMCI: a step against PyTorch, reading cached tokens against computing them.

Both sides have the same weights, tokens, masks and threads; the loss of both is printed. Times are
the best of `repeats`, taken in turn.
"""

import dataclasses
import pathlib
import resource
import tempfile
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx

from zsas_jax.benchmarks.timing import alternate
from zsas_jax.errors import ConfigError
from zsas_jax.networks.clip import Clip, ClipConfig
from zsas_jax.networks.umci import Umci, UmciConfig
from zsas_jax.training import features, losses
from zsas_jax.training.config import OptimizerConfig, TrainConfig
from zsas_jax.training.devices import Devices
from zsas_jax.training.loop import _first_state, _make_step
from zsas_jax.training.optimizers import make_optimizer

WEIGHTS = (0.1, 0.1, 0.1, 0.7)
Part = Literal["step", "cache"]


def main(
    parts: tuple[Part, ...] = ("step", "cache"),
    batch_size: int = 8,
    side: int = 518,
    repeats: int = 3,
    photos: int = 8,
    torch: bool = True,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> None:
    """Prints a table.

    Args:
        parts: step (UMCI alone, on tokens), cache (tokens of ViT-L/14@336, read and computed).
        batch_size: photos of a step.
        side: of CLIP's input, pixels.
        repeats: of every measurement.
        photos: of which tokens are read from the cache.
        torch: whether the PyTorch writing is measured too.
        precision: what our side computes in.
    """
    if torch and "step" in parts and jax.default_backend() != "cpu":
        raise ConfigError("PyTorch's step runs on the CPU: expected --no-torch on an accelerator")
    if torch and "step" in parts and precision != "float32":
        raise ConfigError("PyTorch's step computes in float32: expected --no-torch beside bfloat16")
    step_seconds = _step(batch_size, side, repeats, torch, precision) if "step" in parts else None
    if "cache" in parts:
        read, computed = _cache(side, repeats, photos, precision)
        print(f"reading tokens          {read * 1e3:10.1f} ms a photo")
        print(f"computing tokens        {computed * 1e3:10.1f} ms a photo")
        print(f"reading is faster       {computed / read:10.1f} times")
        if step_seconds is not None:
            step = step_seconds / batch_size
            ratio = (step + computed) / (step + read)
            print(f"epoch with the cache    {ratio:10.2f} times as fast as without")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of all this {peak:10.2f} GiB ({jax.devices()[0].device_kind})")
    if (stats := jax.devices()[0].memory_stats()) and "peak_bytes_in_use" in stats:
        print(f"peak device memory      {stats['peak_bytes_in_use'] / 2**30:10.2f} GiB")


def _step(batch_size: int, side: int, repeats: int, torch: bool, precision: str) -> float:
    config = UmciConfig()
    umci = Umci(config, rngs=nnx.Rngs(0))
    grid = (side // 14, side // 14)
    rng = np.random.default_rng(0)
    shape = (batch_size, len(config.layers), grid[0] * grid[1], config.width)
    tokens = rng.normal(size=shape).astype(np.float32).astype(ml_dtypes.bfloat16)
    masks = np.zeros((batch_size, side, side), np.float32)
    masks[: batch_size // 2, side // 4 : side // 2, side // 4 : side // 2] = 1
    text = rng.normal(size=(batch_size, 2, config.text_dim)).astype(np.float32)
    text /= np.linalg.norm(text, axis=-1, keepdims=True)
    runs: dict[str, Callable[[], float]] = {
        "ours": _our_step(umci, tokens, masks, text, grid, precision)
    }
    if torch:
        runs["PyTorch"] = _torch_step(umci, tokens, masks, text, grid)
    seconds, found = _in_turn(runs, repeats)
    for name in runs:
        rate = batch_size / seconds[name]
        print(f"step, {name:8}          {seconds[name]:10.3f} s, {rate:.2f} photos/s")
        print(f"  first loss            {found[name]:10.6f}")
    if torch:
        print(f"speed of PyTorch's      {seconds['PyTorch'] / seconds['ours']:10.2f}")
    return seconds["ours"]


def _our_step(umci: Umci, tokens, masks, text, grid, precision: str) -> Callable[[], float]:
    graphdef, params, rest = nnx.split(umci, nnx.Param, ...)
    optimizer = OptimizerConfig(clip_norm=0.0)
    config = TrainConfig(task="umci", steps=1, batch_size=len(masks), optimizer=optimizer)
    devices = Devices(1)

    def loss(params, frozen, batch, key):
        cast = jax.tree.map(lambda leaf: leaf.astype(precision), params)
        stages = [batch["tokens"][:, stage] for stage in range(len(WEIGHTS))]
        logits = nnx.merge(graphdef, cast, rest)(stages, grid, batch["text"])
        return losses.umci_loss(logits, batch["masks"], WEIGHTS), {}

    transform = make_optimizer(optimizer, 1)
    start = jax.tree.map(jnp.copy, params)
    state: Any = devices.copy(_first_state(config, start, transform))
    health: Any = devices.copy(np.int32(0))
    step = _make_step(config, transform, loss, devices)
    batch = devices.place_batch({"tokens": tokens, "masks": masks, "text": text})

    def run() -> float:
        nonlocal state, health
        state, health, scalars = step(state, health, {}, batch, np.int32(1))
        jax.block_until_ready(state)
        return float(scalars["loss"])

    return run


def _torch_step(umci: Umci, tokens, masks, text, grid) -> Callable[[], float]:
    import torch

    from zsas_jax.benchmarks import torch_umci

    module = torch_umci.TorchUmci(umci.config)
    torch_umci.copy_weights(umci, module)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, weight_decay=0.01)
    stages = [torch.from_numpy(rows.astype(np.float32)) for rows in np.moveaxis(tokens, 1, 0)]
    truth, words = torch.from_numpy(masks), torch.from_numpy(text)

    def run() -> float:
        optimizer.zero_grad()
        value = torch_umci.umci_loss(module(stages, words, grid), truth, WEIGHTS)
        value.backward()
        optimizer.step()
        return value.item()

    return run


def _in_turn(
    runs: dict[str, Callable[[], float]], repeats: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Best seconds of each, after one run to warm up, and what that first run returned."""
    first = {name: run() for name, run in runs.items()}
    seconds = alternate(runs, repeats, warm=True)
    return {name: min(times) for name, times in seconds.items()}, first


def _cache(side: int, repeats: int, photos: int, precision: str) -> tuple[float, float]:
    """Seconds a photo: reading tokens from files, and computing them."""
    layers = UmciConfig().layers
    # The text tower takes no part: the smallest one does.
    sizes = dataclasses.replace(
        ClipConfig.preset("ViT-L-14-336"), text_layers=1, text_width=12, vocab_size=2
    )
    clip = Clip(sizes, rngs=nnx.Rngs(0), param_dtype=jnp.dtype(precision))
    images = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)

    def compute() -> float:
        return float(np.asarray(features.patch_tokens(clip, images, layers))[0, 0, 0, 0])

    with tempfile.TemporaryDirectory() as directory:
        cache = features.FeatureCache(pathlib.Path(directory), clip, layers, side)
        tokens = np.asarray(features.patch_tokens(clip, images, layers))[0]
        names = [f"{number:032x}" for number in range(photos)]
        for name in names:
            cache.write(name, tokens)

        def read() -> float:
            return sum(float(np.array(_found(cache, name))[0, 0, 0]) for name in names)

        seconds, _ = _in_turn({"read": read, "compute": compute}, repeats)
    return seconds["read"] / photos, seconds["compute"]


def _found(cache: features.FeatureCache, name: str) -> np.ndarray:
    tokens = cache.read(name)
    assert tokens is not None
    return tokens
