"""Sizes of the Segment Anything networks (Kirillov et al. 2023, appendix A; Meta's public code)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from zsas_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class SamConfig:
    """Every size of a SAM; the defaults are those of the public ViT-B. Only JSON-able fields.

    Raises:
        ConfigError: a size that does not fit the others.
    """

    # Image encoder (a plain ViT with windowed attention).
    image_size: int = 1024  # pixels, side of the square input frame
    patch_size: int = 16  # pixels
    width: int = 768  # channels of the encoder
    depth: int = 12  # blocks
    heads: int = 12
    mlp_ratio: float = 4.0  # hidden width of a block's MLP over its width
    global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)  # 0-based blocks that see the whole grid
    window_size: int = 14  # patches, side of the attention window of the other blocks
    encoder_eps: float = 1e-6  # encoder norms and every LayerNorm2d

    # Prompt encoder and mask decoder.
    out_chans: int = 256  # channels of the image embedding and of every prompt token
    mask_channels: int = 16  # widest hidden layer of the mask prompt's convolutions
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    decoder_downsample: int = 2  # out_chans over the inner width of the cross-attentions
    decoder_eps: float = 1e-5  # norms of the two-way transformer (Meta's value)
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden: int = 256

    # Normalisation of RGB pixels in 0..255.
    pixel_mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, ...] = (58.395, 57.12, 57.375)

    def __post_init__(self):
        # JSON knows lists only; tuples keep the config hashable.
        for name in ("global_attn_indexes", "pixel_mean", "pixel_std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type in (int, float) and not value > 0:
                raise ConfigError(f"SamConfig.{field.name} is {value}, expected more than 0.")
        for name in ("pixel_mean", "pixel_std"):
            if len(getattr(self, name)) != 3:
                raise ConfigError(f"SamConfig.{name} has not 3 values, one for each of R, G, B.")
        inner = self.out_chans // self.decoder_downsample
        requirements = (
            (self.image_size % self.patch_size == 0, "image_size a multiple of patch_size"),
            (self.width % self.heads == 0, "width a multiple of heads"),
            (self.out_chans % 8 == 0, "out_chans a multiple of 8"),
            (self.mask_channels % 4 == 0, "mask_channels a multiple of 4"),
            (self.out_chans % self.decoder_heads == 0, "out_chans a multiple of decoder_heads"),
            (inner % self.decoder_heads == 0, "the cross-attention width a multiple of its heads"),
            (min(self.pixel_std) > 0, "pixel_std above 0"),
            (self.iou_head_depth >= 2, "iou_head_depth at least 2"),
            (
                all(0 <= index < self.depth for index in self.global_attn_indexes),
                "global_attn_indexes between 0 and depth - 1",
            ),
        )
        for met, expected in requirements:
            if not met:
                raise ConfigError(f"SamConfig: expected {expected}, found {self}.")

    @property
    def grid_size(self) -> int:
        """Patches along one side of the input frame."""
        return self.image_size // self.patch_size

    @classmethod
    def vit_b(cls) -> "SamConfig":
        """SAM ViT-B, 93.7 million parameters."""
        return cls()

    @classmethod
    def vit_l(cls) -> "SamConfig":
        """SAM ViT-L, 312.3 million parameters."""
        return cls(width=1024, depth=24, heads=16, global_attn_indexes=(5, 11, 17, 23))

    @classmethod
    def vit_h(cls) -> "SamConfig":
        """SAM ViT-H, 641.1 million parameters."""
        return cls(width=1280, depth=32, heads=16, global_attn_indexes=(7, 15, 23, 31))

    @classmethod
    def from_transformers_config(cls, config: Mapping[str, Any]) -> "SamConfig":
        """Reads a transformers `SamConfig` (its `to_dict()`, or a directory's config.json).

        The decoder's epsilon is Meta's 1e-5 whatever the file says: transformers writes 1e-6, which
        is not what the public weights were trained with.

        Raises:
            ConfigError: a variant that this SAM does not have, such as another activation.
        """
        vision = _with_defaults(config.get("vision_config"), _VISION_DEFAULTS)
        prompt = _with_defaults(config.get("prompt_encoder_config"), _PROMPT_DEFAULTS)
        decoder = _with_defaults(config.get("mask_decoder_config"), _DECODER_DEFAULTS)
        supported = (
            (vision, "hidden_act", "gelu"),
            (vision, "qkv_bias", True),
            (vision, "use_abs_pos", True),
            (vision, "use_rel_pos", True),
            (vision, "num_channels", 3),
            (vision, "num_pos_feats", vision["output_channels"] // 2),
            (prompt, "hidden_act", "gelu"),
            (prompt, "hidden_size", vision["output_channels"]),
            (prompt, "image_size", vision["image_size"]),
            (prompt, "patch_size", vision["patch_size"]),
            (prompt, "num_point_embeddings", 4),
            (prompt, "layer_norm_eps", vision["layer_norm_eps"]),
            (decoder, "hidden_act", "relu"),
            (decoder, "hidden_size", vision["output_channels"]),
        )
        for section, name, expected in supported:
            if section[name] != expected:
                raise ConfigError(
                    f"SAM config.json: {name} is {section[name]!r}, only {expected!r} is supported."
                )
        hidden = vision["mlp_dim"] or int(vision["hidden_size"] * vision["mlp_ratio"])
        return cls(
            image_size=vision["image_size"],
            patch_size=vision["patch_size"],
            width=vision["hidden_size"],
            depth=vision["num_hidden_layers"],
            heads=vision["num_attention_heads"],
            mlp_ratio=hidden / vision["hidden_size"],
            global_attn_indexes=tuple(vision["global_attn_indexes"]),
            window_size=vision["window_size"],
            encoder_eps=vision["layer_norm_eps"],
            out_chans=vision["output_channels"],
            mask_channels=prompt["mask_input_channels"],
            decoder_depth=decoder["num_hidden_layers"],
            decoder_heads=decoder["num_attention_heads"],
            decoder_mlp_dim=decoder["mlp_dim"],
            decoder_downsample=decoder["attention_downsample_rate"],
            num_multimask_outputs=decoder["num_multimask_outputs"],
            iou_head_depth=decoder["iou_head_depth"],
            iou_head_hidden=decoder["iou_head_hidden_dim"],
        )


PRESETS = {
    "ViT-B": SamConfig.vit_b(),
    "ViT-L": SamConfig.vit_l(),
    "ViT-H": SamConfig.vit_h(),
}

# A config.json written by transformers leaves out every value that equals the default.
_VISION_DEFAULTS = {
    "hidden_size": 768,
    "output_channels": 256,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 1024,
    "patch_size": 16,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "qkv_bias": True,
    "mlp_ratio": 4.0,
    "mlp_dim": None,
    "use_abs_pos": True,
    "use_rel_pos": True,
    "window_size": 14,
    "global_attn_indexes": (2, 5, 8, 11),
    "num_pos_feats": 128,
}
_PROMPT_DEFAULTS = {
    "hidden_size": 256,
    "image_size": 1024,
    "patch_size": 16,
    "mask_input_channels": 16,
    "num_point_embeddings": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
}
_DECODER_DEFAULTS = {
    "hidden_size": 256,
    "hidden_act": "relu",
    "mlp_dim": 2048,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "attention_downsample_rate": 2,
    "num_multimask_outputs": 3,
    "iou_head_depth": 3,
    "iou_head_hidden_dim": 256,
}


def _with_defaults(section: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {**defaults, **(section or {})}


SMALL = SamConfig(
    image_size=64,
    width=8,
    depth=1,
    heads=2,
    global_attn_indexes=(),
    window_size=3,
    out_chans=16,
    mask_channels=8,
    decoder_depth=1,
    decoder_heads=2,
    decoder_mlp_dim=16,
    iou_head_depth=2,
    iou_head_hidden=16,
)
