"""Image encoders against transformers': same weights, same input."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zsas_jax.benchmarks import setups, timing
from zsas_jax.benchmarks.results import Row
from zsas_jax.errors import ConfigError
from zsas_jax.networks import clip, sam
from zsas_jax.ops.layers import cast_parameters

QUESTION = "How long does an image encoder take?"
OURS = "ours"


def measure(
    models: Sequence[str],
    programs: Sequence[str],
    repeats: int,
    batch_size: int,
    dtype: str,
    memory: bool,
) -> list[Row]:
    """Rows of seconds per image of float32 noise, each model in a process of its own.

    On Linux PyTorch is much faster where the process has freed large arrays before, such as another
    model's, because malloc then keeps memory.

    Args:
        models: presets, NAME or NAME@SIDE for another input size, or a network's name for its
            small config.
        programs: peers; sdpa, eager: transformers'; compiled: sdpa under torch.compile.
        repeats: alternating rounds.
        batch_size: images of a run.
        dtype: what all programs compute in.
        memory: measure peak memory too, in a process per program.
    """
    for model in models:
        find(model)  # Mistakes show before anything runs.
    programs = (OURS, *programs)
    rows: list[Row] = []
    for model in models:
        found = timing.in_new_process(compare, model, programs, repeats, batch_size, dtype)
        for row in found if memory else ():
            arguments = (model, row["program"], batch_size, dtype)
            used = timing.in_new_process(peak, *arguments)
            row["GiB above weights"] = used and used / 2**30
        rows += found
    return rows


def compare(
    model: str, programs: Sequence[str], repeats: int, batch_size: int, dtype: str
) -> list[Row]:
    """Rows of one model."""
    rate = timing.matrix_rate(dtype=jnp.dtype(dtype))
    runs, operations = build(model, programs, batch_size, dtype)
    labels = {"question": QUESTION, "model": model, "dtype": dtype, "batch": batch_size}
    floor = operations / rate / batch_size
    return timing.compare(runs, repeats, labels, items=batch_size, floor=floor)


def peak(model: str, program: str, batch_size: int, dtype: str) -> float | None:
    """Bytes that two runs of one program need at most beyond what its weights occupy."""
    runs, _ = build(model, (program,), batch_size, dtype)
    return timing.memory_above(lambda: (runs[program](), runs[program]()))


def build(
    model: str, programs: Sequence[str], batch_size: int, dtype: str
) -> tuple[dict[str, timing.Run], float]:
    """The programs on one input, and the floating point operations of a run's matrix products.

    A run returns the image embedding, or the patch tokens of the last block, channels last.
    """
    network, side, encode = find(model)
    pixels = np.random.default_rng(1).standard_normal((batch_size, side, side, 3), np.float32)
    operations = timing.matrix_operations(encode, network, pixels)
    runs: dict[str, timing.Run] = {}
    for program in programs:
        if program == OURS:
            runs[program] = _ours(network, encode, pixels, dtype)
        else:
            from zsas_jax.benchmarks.torch_encoders import encoder

            runs[program] = encoder(network, pixels, program, dtype)
    return runs, operations


def find(model: str) -> tuple[Any, int, Callable]:
    """A network of random weights, the side of its input, and its image encoder.

    Raises:
        ConfigError: an unknown model or side, or a network without a peer.
    """
    name, _, side = model.partition("@")
    network, config = setups.find_sizes(name)
    if network not in (clip.NETWORK, sam.NETWORK):
        raise ConfigError(f"{name!r} has no peer: expected a preset of a CLIP or a SAM")
    if side and not side.isdigit():
        raise ConfigError(f"model is {model!r}: expected NAME or NAME@SIDE, pixels")
    pixels = int(side or config.image_size)
    if network is sam.NETWORK:
        config = dataclasses.replace(config, image_size=pixels)
        return setups.random_network(network, config), pixels, sam.encode_image
    config = dataclasses.replace(config, **setups.LITTLE_TEXT)

    def encode(network: clip.Clip, pixels: jax.Array) -> jax.Array:
        layers = (network.config.vision_layers,)
        return clip.encode_image(network, pixels, layers).patch_tokens[0]

    return setups.random_network(network, config), pixels, encode


def _ours(network: Any, encode: Callable, pixels: np.ndarray, dtype: str) -> timing.Run:
    cast, device, program = cast_parameters(network, dtype), jax.device_put(pixels), jax.jit(encode)
    return lambda: np.asarray(program(cast, device), np.float32)
