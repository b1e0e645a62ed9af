# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
"""Image encoders of SAM and CLIP against transformers': same weights, same input, one process."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zsas_jax.benchmarks import timing
from zsas_jax.benchmarks.random_weights import randomise
from zsas_jax.cli.common import set_up_xla
from zsas_jax.config import suggestion
from zsas_jax.errors import ConfigError
from zsas_jax.networks import clip as clip_api
from zsas_jax.networks import sam as sam_api
from zsas_jax.networks.clip import Clip, ClipConfig
from zsas_jax.networks.sam import Sam, SamConfig
from zsas_jax.ops.layers import cast_parameters

Program = Literal["ours", "sdpa", "eager", "compiled"]
Run = Callable[[], np.ndarray]

SAMS = {"sam_b": SamConfig.vit_b, "sam_l": SamConfig.vit_l, "sam_h": SamConfig.vit_h}
CLIPS = {"clip_l_336": 336, "clip_l_518": 518}
MODELS = (*SAMS, *CLIPS, "sam_small", "clip_small")


def main(
    models: tuple[str, ...] = ("sam_b", "clip_l_336", "clip_l_518"),
    programs: tuple[Program, ...] = ("ours", "sdpa", "eager", "compiled"),
    repeats: int = 5,
    batch_size: int = 1,
    dtype: Literal["float32", "bfloat16"] = "float32",
    memory: bool = True,
    output: pathlib.Path | None = None,
) -> None:
    """Prints a table of seconds per image; random weights, float32 noise as the image.

    Args:
        models: sam_b, sam_l, sam_h (1024 pixels), clip_l_336, clip_l_518 (ViT-L/14@336), and
            sam_small, clip_small to try it out.
        programs: ours; sdpa, eager: transformers'; compiled: sdpa under torch.compile.
        repeats: alternating runs of each program.
        batch_size: images in one run.
        dtype: what all programs compute in.
        memory: measure peak memory as well, in a process of its own per program.
        output: a JSON file for the figures.
    """
    for name in models:
        if name not in MODELS:
            raise ConfigError(f"--models has {name!r}{suggestion(name, MODELS)}")
    rows = []
    for name in models:
        rows += timing.in_new_process(compare, name, programs, batch_size, dtype, repeats)
        if memory:
            for row in rows[-len(programs) :]:
                arguments = (name, row["program"], batch_size, dtype)
                row["GiB above weights"] = timing.in_new_process(peak, *arguments) / 2**30
    timing.report(rows, output)


def compare(
    name: str, programs: tuple[str, ...], batch_size: int, dtype: str, repeats: int
) -> list[timing.Row]:
    """Rows of one model; every output is compared with the first program's.

    For a process of its own: on Linux PyTorch is much faster where the process has freed large
    arrays before, such as another model's, because malloc then keeps memory.
    """
    set_up_xla()
    rate = timing.matrix_rate(dtype=jnp.dtype(dtype))
    print(f"matrix products: {rate / 1e9:.0f} GFLOP/s ({dtype})", flush=True)
    runs, operations = build(name, programs, batch_size, dtype)
    floor = operations / rate / batch_size
    first, *others = runs
    expected = runs[first]()
    scale = np.abs(expected).max()
    apart = {other: float(np.abs(runs[other]() - expected).max() / scale) for other in others}
    seconds = timing.alternate(runs, repeats, warm=True)
    rows = timing.time_rows(seconds, {"model": name}, first=first, items=batch_size, floor=floor)
    for row in rows:
        row["difference"] = apart.get(row["program"], 0.0)
    return rows


def peak(name: str, program: str, batch_size: int, dtype: str) -> float:
    """Bytes that two runs of one program need at most beyond what its weights occupy."""
    set_up_xla()
    runs, _ = build(name, (program,), batch_size, dtype)
    return timing.memory_above(lambda: (runs[program](), runs[program]()))


def build(
    name: str, programs: tuple[str, ...], batch_size: int, dtype: str
) -> tuple[dict[str, Run], float]:
    """The programs on one input, and the floating point operations of a run's matrix products.

    A run returns the image embedding, or the patch tokens of the last block, channels last.
    """
    network, side, encode = _network(name)
    pixels = np.random.default_rng(1).standard_normal((batch_size, side, side, 3), np.float32)
    peers = [program for program in programs if program != "ours"]
    runs: dict[str, Run] = {}
    ours = jax.jit(encode)
    operations = timing.matrix_operations(encode, network, pixels)
    models = {program: _peer(network, program, dtype) for program in peers}
    if "ours" in programs:
        cast = cast_parameters(network, dtype)
        device = jax.device_put(pixels)
        runs["ours"] = lambda: np.asarray(ours(cast, device), np.float32)
    runs |= {program: _torch_run(models[program], pixels, dtype) for program in peers}
    return {program: runs[program] for program in programs}, operations


def _network(name: str) -> tuple[Any, int, Callable]:
    if name in SAMS or name == "sam_small":
        small = SamConfig(
            image_size=160, width=48, depth=2, heads=3, window_size=4, global_attn_indexes=(1,)
        )
        config = SAMS[name]() if name in SAMS else small
        sam = randomise(nnx.eval_shape(lambda: Sam(config, rngs=nnx.Rngs(0))))
        return sam, config.image_size, sam_api.encode_image
    sizes = {"text_layers": 1, "text_width": 12, "text_heads": 1, "vocab_size": 2}
    large = ClipConfig.preset("ViT-L-14-336")
    if name == "clip_small":
        sizes |= {"vision_layers": 2, "vision_width": 48, "vision_heads": 3, "image_size": 56}
    config = dataclasses.replace(large, **sizes)
    clip = randomise(nnx.eval_shape(lambda: Clip(config, rngs=nnx.Rngs(0))))

    def encode(clip: Clip, pixels: jax.Array) -> jax.Array:
        layers = (clip.config.vision_layers,)
        return clip_api.encode_image(clip, pixels, layers).patch_tokens[0]

    return clip, CLIPS.get(name, 84), encode


def _peer(network: Any, program: str, dtype: str) -> Any:
    import torch

    from zsas_jax.benchmarks import torch_weights

    attention = "eager" if program == "eager" else "sdpa"
    if isinstance(network, Sam):
        vision = torch_weights.transformers_sam(network, attention).vision_encoder
    else:
        vision = torch_weights.transformers_clip(network, attention).vision_model
    if dtype == "bfloat16":
        vision = vision.to(torch.bfloat16)
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")  # As JAX does by default there.
        vision = vision.to("cuda")
    return torch.compile(vision) if program == "compiled" else vision


def _torch_run(vision: Any, pixels: np.ndarray, dtype: str) -> Run:
    import torch

    is_sam = "Sam" in type(getattr(vision, "_orig_mod", vision)).__name__
    call = vision if is_sam else functools.partial(vision, interpolate_pos_encoding=True)
    tensor = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).to(getattr(torch, dtype))
    if torch.cuda.is_available():
        tensor = tensor.cuda()

    @torch.inference_mode()
    def run() -> np.ndarray:
        tokens = call(tensor).last_hidden_state
        tokens = tokens.permute(0, 2, 3, 1) if is_sam else tokens[:, 1:]
        return tokens.float().cpu().numpy()

    return run
