"""Segment Anything (SAM) in Flax NNX."""

from zsas_jax.networks.base import Network
from zsas_jax.networks.sam.config import PRESETS, SMALL, SamConfig
from zsas_jax.networks.sam.convert import LAYOUTS, convert_transformers
from zsas_jax.networks.sam.hub import HUB
from zsas_jax.networks.sam.model import MaskPrediction, Sam, decode_masks, encode_image, resized
from zsas_jax.networks.sam.postprocess import (
    frame_size,
    normalize_pixels,
    scale_coordinates,
    upscale_logits,
)

NETWORK = Network("sam", SamConfig, Sam, LAYOUTS, PRESETS, HUB, small=SMALL)

__all__ = [
    "NETWORK",
    "PRESETS",
    "MaskPrediction",
    "Sam",
    "SamConfig",
    "convert_transformers",
    "decode_masks",
    "encode_image",
    "frame_size",
    "normalize_pixels",
    "resized",
    "scale_coordinates",
    "upscale_logits",
]
