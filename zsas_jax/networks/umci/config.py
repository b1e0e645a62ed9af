"""Sizes of the UMCI module (ClipSAM, section 3.2 and Table 3)."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from zsas_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class UmciConfig:
    """Unified Multi-scale Cross-modal Interaction: one independent module per CLIP stage."""

    width: int = 1024
    """Channels C of the patch tokens (the CLIP vision tower's width)."""
    text_dim: int = 768
    """Channels C_t of the text features and of the projected patch tokens."""
    hidden_dim: int = 384
    """Channels c_h inside both paths (ClipSAM, Table 3: 384 is best of 194, 256, 384)."""
    scale_kernels: tuple[int, ...] = (3, 9)
    """Pooling windows s_1, s_2 of the scale path in patches (ClipSAM, Table 3)."""
    layers: tuple[int, ...] = (6, 12, 18, 24)
    """CLIP blocks (1-based) whose patch tokens feed the stages, one module each."""
    use_strip: bool = True
    """Whether the strip path takes part (ClipSAM, Table 2, "only w/scale" is False)."""
    use_scale: bool = True
    """Whether the scale path takes part (ClipSAM, Table 2, "only w/strip" is False)."""

    def __post_init__(self):
        for name in ("width", "text_dim", "hidden_dim"):
            if getattr(self, name) < 1:
                raise ConfigError(f"umci.{name} is {getattr(self, name)}: expected at least 1")
        for name in ("scale_kernels", "layers"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                raise ConfigError(f"umci.{name} is {values}: expected one or more positive numbers")


def check_fit(config: UmciConfig, others: Mapping[str, Any]) -> None:
    """Refuses a UMCI that does not fit the CLIP beside it, if there is one.

    Raises:
        ConfigError: another width, or blocks that the CLIP lacks.
    """
    clip = others.get("clip")
    if clip is None:
        return
    for name, found, expected in (
        ("width", config.width, clip.vision_width),
        ("text_dim", config.text_dim, clip.embed_dim),
    ):
        if found != expected:
            raise ConfigError(f"umci.{name} is {found}: expected CLIP's {expected}")
    if max(config.layers) > clip.vision_layers:
        raise ConfigError(
            f"umci.layers is {config.layers}: expected blocks of CLIP's 1 to {clip.vision_layers}"
        )


SMALL = UmciConfig(width=16, text_dim=12, hidden_dim=8, scale_kernels=(3,), layers=(1, 2))
