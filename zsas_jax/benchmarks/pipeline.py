# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
"""The whole cascade against a PyTorch pipeline of the same steps, weights and prompts."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zsas_jax.benchmarks import timing
from zsas_jax.benchmarks.random_weights import randomise
from zsas_jax.checkpoints.checkpoint import load, read_config
from zsas_jax.cli.common import set_up_xla
from zsas_jax.config import Config, PipelineConfig
from zsas_jax.data.synthetic import SyntheticSource
from zsas_jax.errors import ConfigError
from zsas_jax.networks.base import Model, abstract_model
from zsas_jax.networks.clip import ClipConfig
from zsas_jax.networks.sam import SamConfig
from zsas_jax.networks.umci import UmciConfig
from zsas_jax.ops.layers import cast_parameters
from zsas_jax.parts.rough import rough_segmentation
from zsas_jax.parts.text import encode_text
from zsas_jax.segment import _segment, embed_for_sam, frames_of, segment

SAMS = {"b": SamConfig.vit_b, "l": SamConfig.vit_l, "h": SamConfig.vit_h}


def main(
    model: str = "tiny",
    batch_sizes: tuple[int, ...] = (),
    image_side: int = 0,
    repeats: int = 5,
    programs: tuple[Literal["ours", "torch", "compiled"], ...] = ("ours", "torch"),
    stages: bool = True,
    dtype: Literal["float32", "bfloat16"] = "float32",
    output: pathlib.Path | None = None,
) -> None:
    """Prints a table of seconds per image on the generator's pictures.

    Args:
        model: tiny, or b, l, h: random weights, CLIP ViT-L/14@336 at 518 and SAM of that size.
        batch_sizes: images in one run; default 1 8 32 for tiny and 1 for the others.
        image_side: of the pictures in pixels; default 256 for tiny and 1024 for the others.
        repeats: alternating runs.
        programs: ours; torch: PyTorch; compiled: its encoders under torch.compile.
        stages: also time our encoders alone; the rest is prompts, decoding and fusion.
        dtype: what the networks compute in.
        output: a JSON file for the figures.
    """
    side = image_side or canvas_side(model)
    set_up_xla()
    networks, config, text = networks_of(model)
    config = dataclasses.replace(config, compute_dtype=dtype)
    rate = timing.matrix_rate(dtype=jnp.dtype(dtype))
    print(f"matrix products: {rate / 1e9:.0f} GFLOP/s ({dtype})")
    rows = []
    for batch_size in batch_sizes or ((1, 8, 32) if model == "tiny" else (1,)):
        images, words = pictures(batch_size, side), np.repeat(text, batch_size, 0)
        floor = operations_of(networks, images, words, config) / rate / batch_size
        ours = run_ours(networks, images, words, config)
        runs: dict[str, Callable[[], Any]] = {"ours": ours}
        for program in programs:
            if program != "ours":
                runs[program] = run_torch(networks, images, words, config, program)
        apart, memory = compare(runs)
        if stages:
            runs["our CLIP, UMCI"], runs["our SAM encoder"] = run_encoders(
                networks, images, words, config
            )
        seconds = timing.alternate(runs, repeats)
        found = timing.time_rows(seconds, {"model": model, "batch": batch_size}, items=batch_size)
        for row in found:
            row["images/s"] = 1 / row["seconds"]
            if row["program"] in apart:
                row["of floor"] = floor / row["seconds"]
                row["mean difference"] = apart[row["program"]]
                if memory[row["program"]] is not None:
                    row["GiB above weights"] = memory[row["program"]] / 2**30
        if stages:
            found.append(rest(found))
        rows += found
        timing.report(rows, output)  # After every batch size: a run can end early.


def compare(
    runs: dict[str, Callable[[], Any]],
) -> tuple[dict[str, float], dict[str, float | None]]:
    """Mean absolute difference of each program's maps from the first one's, and the memory on an
    accelerator that its first run takes beside the weights.
    """
    maps, memory = {}, {}
    for name, run in runs.items():
        (maps[name], _), memory[name] = timing.device_memory_above(run)
    expected = next(iter(maps.values()))
    return {name: float(np.abs(found - expected).mean()) for name, found in maps.items()}, memory


def rest(rows: list[timing.Row]) -> timing.Row:
    """What is left of ours beside both encoders: prompts, decoding, fusion, upsampling."""
    seconds = {row["program"]: row["seconds"] for row in rows}
    left = seconds["ours"] - seconds["our CLIP, UMCI"] - seconds["our SAM encoder"]
    labels = {name: rows[0][name] for name in ("model", "batch")}
    share = left / seconds["ours"]
    return {**labels, "program": "our rest", "seconds": left, "times ours": share}


def canvas_side(model: str) -> int:
    """Side of a model's photos in pixels, unless one is asked for.

    Raises:
        ConfigError: an unknown model.
    """
    if model not in ("tiny", *SAMS):
        raise ConfigError(f"--model is {model!r}: expected tiny, {', '.join(SAMS)}")
    return 256 if model == "tiny" else 1024


def config_of(model: str) -> Config:
    """Sizes and settings of the cascade with every image refined."""
    if model == "tiny":
        config = read_config("tiny")
        settings = dataclasses.replace(config.pipeline, method="cascade", refine_at_a_time=0)
        return dataclasses.replace(config, pipeline=settings)
    # The text tower takes no part: the smallest one does.
    small = {"text_layers": 1, "text_width": 12, "text_heads": 1, "vocab_size": 2}
    clip = dataclasses.replace(ClipConfig.preset("ViT-L-14-336"), **small)
    # A threshold that noise reaches: SAM's decoder works on as many regions as there may be.
    settings = PipelineConfig(rough_threshold=0.0)
    return Config(clip=clip, sam=SAMS[model](), umci=UmciConfig(), pipeline=settings)


def networks_of(model: str) -> tuple[Model, PipelineConfig, np.ndarray]:
    """Networks, settings and a category's text features [1, 2, D]."""
    config = config_of(model)
    if model == "tiny":
        bundle = load("tiny")
        features = encode_text(bundle.model.clip, bundle.tokenizer, ["leather"])
        return bundle.model, config.pipeline, np.asarray(features)
    abstract = abstract_model(config)
    networks = nnx.merge(*nnx.split(abstract))
    for name in ("clip", "sam", "umci"):
        setattr(networks, name, randomise(getattr(abstract, name)))
    width = ClipConfig.preset("ViT-L-14-336").embed_dim
    text = np.random.default_rng(5).standard_normal((1, 2, width), np.float32)
    return networks, config.pipeline, _unit(text)


def pictures(count: int, side: int) -> np.ndarray:
    """Pictures of the generator's held-out classes, half of them defective: [B, H, W, 3]."""
    source = SyntheticSource(per_class=2, anomaly_fraction=0.5, size=side)
    order = np.random.default_rng(0).permutation(len(source))
    return np.stack([source[int(order[i % len(order)])]["image"] for i in range(count)])


def _sizes_and_keys(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sizes = np.tile(np.int32(images.shape[1:3]), (len(images), 1))
    return sizes, np.arange(len(images), dtype=np.uint32)


def operations_of(
    networks: Model, images: np.ndarray, text: np.ndarray, config: PipelineConfig
) -> float:
    """Floating point operations of the matrix products of our program."""
    sizes, keys = _sizes_and_keys(images)
    return timing.matrix_operations(
        lambda model: _segment(model, images, sizes, text, keys, config), networks
    )


def run_ours(
    networks: Model, images: np.ndarray, text: np.ndarray, config: PipelineConfig
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """One run from host arrays to host arrays: maps and scores."""
    sizes, keys = _sizes_and_keys(images)
    networks = cast_parameters(networks, config.compute_dtype)

    def run() -> tuple[np.ndarray, np.ndarray]:
        found = segment(networks, images, sizes, text, keys, config=config)
        return np.asarray(found.anomaly_map), np.asarray(found.image_score)

    return run


def run_torch(
    networks: Model, images: np.ndarray, text: np.ndarray, config: PipelineConfig, program: str
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """The same of the PyTorch pipeline."""
    import torch

    from zsas_jax.benchmarks.torch_pipeline import TorchPipeline

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.set_float32_matmul_precision("high")  # As JAX does by default there.
    pipeline = TorchPipeline(
        networks,
        config,
        compiled=program == "compiled",
        device=device,
        dtype=config.compute_dtype,
    )
    return lambda: pipeline(images, text)


def run_encoders(
    networks: Model, images: np.ndarray, text: np.ndarray, config: PipelineConfig
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Our two parts before the prompts: photos to the rough map, photos to SAM's embedding."""
    sizes, _ = _sizes_and_keys(images)
    networks = cast_parameters(networks, config.compute_dtype)

    @jax.jit
    def rough(model, images, sizes, text):
        return rough_segmentation(model, images, sizes, text, config.rough, config)

    @jax.jit
    def embed(sam, images, sizes):
        return embed_for_sam(sam, images, sizes, frames_of(sizes, sam.config.image_size))

    return (
        lambda: jax.block_until_ready(rough(networks, images, sizes, text)),
        lambda: jax.block_until_ready(embed(networks.sam, images, sizes)),
    )


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
