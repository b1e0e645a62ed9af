# pyright: reportArgumentType=false
"""Transformers' image encoders as runs."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from zsas_jax.benchmarks import torch_weights
from zsas_jax.networks.sam import Sam


def encoder(network: Any, pixels: np.ndarray, program: str, dtype: str) -> Callable:
    """A run of one program, as those of `encoders.build`."""
    attention = "eager" if program == "eager" else "sdpa"
    is_sam = isinstance(network, Sam)
    if is_sam:
        vision = torch_weights.transformers_sam(network, attention).vision_encoder
    else:
        vision = torch_weights.transformers_clip(network, attention).vision_model
    kind, place = getattr(torch, dtype), torch_weights.device()
    vision = vision.to(place, kind)
    call = torch.compile(vision) if program == "compiled" else vision
    if not is_sam:
        call = functools.partial(call, interpolate_pos_encoding=True)
    tensor = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).to(place, kind)

    @torch.inference_mode()
    def run() -> np.ndarray:
        tokens = call(tensor).last_hidden_state
        tokens = tokens.permute(0, 2, 3, 1) if is_sam else tokens[:, 1:]
        return tokens.float().cpu().numpy()

    return run
