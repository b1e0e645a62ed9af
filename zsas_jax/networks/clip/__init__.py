"""CLIP in Flax NNX: both towers, patch tokens of any layer, tokenizer, conversion."""

from zsas_jax.networks.base import Network, Option
from zsas_jax.networks.clip.config import ACTIVATIONS, PRESETS, SMALL, ClipConfig
from zsas_jax.networks.clip.convert import LAYOUTS, convert_transformers
from zsas_jax.networks.clip.hub import HUB
from zsas_jax.networks.clip.model import (
    Clip,
    ImageEncoding,
    encode_image,
    encode_text,
    patch_grid,
    project_patches,
)
from zsas_jax.networks.clip.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from zsas_jax.networks.clip.vocabulary import TOKENIZER

NETWORK = Network(
    "clip",
    ClipConfig,
    Clip,
    LAYOUTS,
    PRESETS,
    HUB,
    TOKENIZER,
    {
        "activation": Option(
            "where the files do not tell it: quick_gelu for OpenAI's models, gelu for LAION's",
            ACTIVATIONS,
        )
    },
    SMALL,
)

__all__ = [
    "NETWORK",
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
