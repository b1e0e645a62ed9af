"""CLIP in Flax NNX: both towers, patch tokens of any layer, tokenizer, conversion."""

from zsas_jax.clip.config import PRESETS, ClipConfig
from zsas_jax.clip.convert import convert_transformers
from zsas_jax.clip.model import (
    Clip,
    ImageEncoding,
    encode_image,
    encode_text,
    patch_grid,
    project_patches,
)
from zsas_jax.clip.tokenizer import Tokenizer, load_tokenizer, train_tokenizer

__all__ = [
    "PRESETS",
    "Clip",
    "ClipConfig",
    "ImageEncoding",
    "Tokenizer",
    "convert_transformers",
    "encode_image",
    "encode_text",
    "load_tokenizer",
    "patch_grid",
    "project_patches",
    "train_tokenizer",
]
