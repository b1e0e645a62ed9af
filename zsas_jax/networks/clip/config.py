"""Sizes and conventions of CLIP's two towers."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from zsas_jax.errors import ConfigError
from zsas_jax.ops.position import POSITION_RULES

ACTIVATIONS = ("quick_gelu", "gelu")
TEXT_POOLINGS = ("argmax", "eot")


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"CLIP's {name} is {value!r}, expected one of {', '.join(choices)}.")


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """Everything that fixes a CLIP's parameters and arithmetic; JSON-able.

    Raises:
        ConfigError: a field outside its range.
    """

    image_size: int = 224  # side of the training images in pixels; fixes the position embeddings
    patch_size: int = 32  # side of a patch in pixels
    vision_width: int = 768  # channels of the patch tokens
    vision_layers: int = 12
    vision_heads: int = 12
    vision_mlp_ratio: float = 4.0  # hidden width of the MLPs, in widths
    context_length: int = 77  # tokens of a sentence with its start and end tokens
    vocab_size: int = 49408
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    text_mlp_ratio: float = 4.0
    embed_dim: int = 512  # channels of the joint space of images and texts
    activation: str = "quick_gelu"  # "quick_gelu" (OpenAI) or "gelu" (open_clip's LAION weights)
    eps: float = 1e-5  # of every layer norm
    # The token whose feature is the sentence's: "argmax", that of the highest id (OpenAI, where
    # that is the end token), or "eot", the first end token (transformers, other vocabularies).
    text_pooling: str = "argmax"
    end_token_id: int = 49407  # of the end token; only the "eot" pooling looks at it
    # Resampling of the position embeddings for other input sizes: "bicubic" (torch, a = -0.75),
    # "bicubic_antialias" (APRIL-GAN) or "bilinear" (AnomalyCLIP); see ops/position.py.
    position_rule: str = "bicubic"
    pixel_mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)  # RGB in [0, 1], OpenAI
    pixel_std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)

    def __post_init__(self):
        # JSON knows lists only; a jitted function's static metadata must be hashable.
        object.__setattr__(self, "pixel_mean", tuple(self.pixel_mean))
        object.__setattr__(self, "pixel_std", tuple(self.pixel_std))
        _require_choice("activation", self.activation, ACTIVATIONS)
        _require_choice("text_pooling", self.text_pooling, TEXT_POOLINGS)
        _require_choice("position_rule", self.position_rule, POSITION_RULES)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in (int, float) and not value > 0 and field.name != "end_token_id":
                raise ConfigError(f"ClipConfig.{field.name} is {value}, expected more than 0.")
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"ClipConfig.image_size is {self.image_size}, expected a multiple of the patch "
                f"size {self.patch_size}."
            )
        for tower in ("vision", "text"):
            width, heads = getattr(self, f"{tower}_width"), getattr(self, f"{tower}_heads")
            if width % heads:
                raise ConfigError(
                    f"ClipConfig.{tower}_width is {width}, expected a multiple of the {heads} "
                    "heads."
                )
        for name in ("pixel_mean", "pixel_std"):
            if len(getattr(self, name)) != 3:
                raise ConfigError(f"ClipConfig.{name} has not 3 values, one for each of R, G, B.")
        if min(self.pixel_std) <= 0:
            raise ConfigError(f"ClipConfig.pixel_std is {self.pixel_std}, expected more than 0.")

    @property
    def grid_size(self) -> int:
        """Patches along each side of a training image."""
        return self.image_size // self.patch_size

    @classmethod
    def preset(cls, name: str) -> "ClipConfig":
        """A published size by its name in `PRESETS`.

        Raises:
            ConfigError: an unknown name.
        """
        _require_choice("preset", name, tuple(PRESETS))
        return PRESETS[name]

    @classmethod
    def from_transformers_config(cls, config: Mapping[str, Any]) -> "ClipConfig":
        """Reads a transformers `CLIPConfig` as a dictionary (its config.json).

        Fields that the file leaves out have transformers' default values. An end token of 2 marks
        configurations of before transformers 4.30, whose models pool at the highest token id.

        Raises:
            ConfigError: not a CLIP configuration, or one outside what these towers compute.
        """
        if config.get("model_type", "clip") != "clip":
            raise ConfigError(f"model_type is {config['model_type']!r}, expected 'clip'.")
        text = {**_TRANSFORMERS_TEXT, **(config.get("text_config") or {})}
        vision = {**_TRANSFORMERS_VISION, **(config.get("vision_config") or {})}
        for name in ("hidden_act", "layer_norm_eps"):
            if text[name] != vision[name]:
                raise ConfigError(
                    f"{name} is {text[name]} for text and {vision[name]} for vision, expected one "
                    "value for both."
                )
        if vision.get("num_channels", 3) != 3:
            raise ConfigError(f"num_channels is {vision['num_channels']}, expected 3.")
        legacy = text["eos_token_id"] == 2
        return cls(
            image_size=vision["image_size"],
            patch_size=vision["patch_size"],
            vision_width=vision["hidden_size"],
            vision_layers=vision["num_hidden_layers"],
            vision_heads=vision["num_attention_heads"],
            vision_mlp_ratio=vision["intermediate_size"] / vision["hidden_size"],
            context_length=text["max_position_embeddings"],
            vocab_size=text["vocab_size"],
            text_width=text["hidden_size"],
            text_layers=text["num_hidden_layers"],
            text_heads=text["num_attention_heads"],
            text_mlp_ratio=text["intermediate_size"] / text["hidden_size"],
            embed_dim=config.get("projection_dim", 512),
            activation=vision["hidden_act"],
            eps=vision["layer_norm_eps"],
            text_pooling="argmax" if legacy else "eot",
            end_token_id=text["vocab_size"] - 1 if legacy else text["eos_token_id"],
        )


# The defaults of transformers' CLIPTextConfig and CLIPVisionConfig, which its files leave out.
_TRANSFORMERS_TEXT = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}
_TRANSFORMERS_VISION = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}

_L_14 = ClipConfig(
    patch_size=14,
    vision_width=1024,
    vision_layers=24,
    vision_heads=16,
    text_width=768,
    text_heads=12,
    embed_dim=768,
)

# OpenAI's four ViT models (Radford et al. 2021, Table 20), and open_clip's that WinCLIP and
# several SAM pipelines use (open_clip's model_configs).
PRESETS: dict[str, ClipConfig] = {
    "ViT-B-32": ClipConfig(patch_size=32),
    "ViT-B-16": ClipConfig(patch_size=16),
    "ViT-L-14": _L_14,
    "ViT-L-14-336": dataclasses.replace(_L_14, image_size=336),
    "ViT-B-16-plus-240": ClipConfig(
        image_size=240,
        patch_size=16,
        vision_width=896,
        vision_heads=14,
        text_width=640,
        text_heads=10,
        embed_dim=640,
        activation="gelu",
    ),
    "ViT-H-14": ClipConfig(
        patch_size=14,
        vision_width=1280,
        vision_layers=32,
        vision_heads=16,
        text_width=1024,
        text_layers=24,
        text_heads=16,
        embed_dim=1024,
        activation="gelu",
    ),
    "ViT-g-14": ClipConfig(
        patch_size=14,
        vision_width=1408,
        vision_layers=40,
        vision_heads=16,
        vision_mlp_ratio=6144 / 1408,
        text_width=1024,
        text_layers=24,
        text_heads=16,
        embed_dim=1024,
        activation="gelu",
    ),
    "ViT-bigG-14": ClipConfig(
        patch_size=14,
        vision_width=1664,
        vision_layers=48,
        vision_heads=16,
        vision_mlp_ratio=8192 / 1664,
        text_width=1280,
        text_layers=32,
        text_heads=20,
        embed_dim=1280,
        activation="gelu",
    ),
}

SMALL = ClipConfig(
    image_size=32,
    patch_size=8,
    vision_width=16,
    vision_layers=2,
    vision_heads=2,
    context_length=32,
    vocab_size=600,
    text_width=8,
    text_layers=1,
    text_heads=1,
    embed_dim=12,
)
