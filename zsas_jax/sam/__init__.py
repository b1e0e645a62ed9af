"""Segment Anything (SAM) in Flax NNX."""

from zsas_jax.sam.config import SamConfig
from zsas_jax.sam.convert import convert_transformers
from zsas_jax.sam.model import MaskPrediction, Sam, decode_masks, encode_image, resized
from zsas_jax.sam.postprocess import (
    frame_size,
    normalize_pixels,
    scale_coordinates,
    upscale_logits,
)

__all__ = [
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
