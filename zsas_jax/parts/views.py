"""The views of a photo that a ViT is given: sizes and orientations, whose maps are averaged."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from zsas_jax.config import Between, check_fields
from zsas_jax.errors import ConfigError
from zsas_jax.networks.clip import ClipConfig
from zsas_jax.ops.resize import resize_bilinear, resize_pillow

Look = Callable[
    [Float[Array, "n h w 3"], tuple[int, int], Any],
    tuple[Float[Array, "n gh gw"], Float[Array, " n"]],
]


@dataclasses.dataclass(frozen=True)
class Views:
    """How large and in which orientations CLIP sees a photo."""

    image_size: int | tuple[int, int] | None = None
    """CLIP's input, one side or (height, width), multiples of its patch size, pixels; photos are
    stretched to it. None takes 518 for patches of 14 (as APRIL-GAN and AnomalyCLIP), else the size
    that the CLIP was trained at. Not specified by ClipSAM."""
    turns: Literal[1, 2, 4] = 1
    """Orientations whose rough maps and class probabilities are averaged: the photo as it is,
    upside down too, or all four quarter turns (of a square input). None of the papers does it; a
    small network errs differently in each, and CLIP's part takes as many times as long."""
    more_sizes: Annotated[tuple[int, ...], Between(1)] = ()
    """Further sides of CLIP's input, pixels. Sizes and orientations take turns until all of both
    were used (the first ones come again where there are fewer of one than of the other); rough
    maps and class probabilities are averaged. None of the papers does it."""

    def __post_init__(self):
        check_fields(self, "views")
        size = self.image_size
        sides = (size, size) if size is None or isinstance(size, int) else size
        if size is not None and min(side or 0 for side in sides) < 1:
            raise ConfigError(f"views.image_size is {size}: expected positive pixels")
        known = [
            *([sides] if size is not None else []),
            *((side, side) for side in self.more_sizes),
        ]
        if len(set(known)) < len(known):
            raise ConfigError(
                f"views.more_sizes is {self.more_sizes} beside image_size {size}: expected every "
                "size once"
            )
        if self.turns == 4 and len(set(sides)) > 1:
            raise ConfigError(
                f"views.turns is 4, which needs a square, but image_size is {size}: expected one "
                "side, or turns 1 or 2"
            )

    def size(self, clip: ClipConfig) -> tuple[int, int]:
        """(height, width) of CLIP's first input, pixels."""
        size = self.image_size
        if size is None:
            size = 518 if clip.patch_size == 14 else clip.image_size
        return (size, size) if isinstance(size, int) else size

    def looks(self, clip: ClipConfig) -> dict[tuple[int, int], tuple[int, ...]]:
        """(height, width) of CLIP's input -> the quarter turns in which it sees the photo so."""
        sizes = list(dict.fromkeys([self.size(clip), *((side, side) for side in self.more_sizes)]))
        looks: dict[tuple[int, int], tuple[int, ...]] = {}
        for look in range(max(len(sizes), self.turns)):
            size = sizes[look % len(sizes)]
            looks[size] = (*looks.get(size, ()), look % self.turns * 4 // self.turns)
        return looks


def patch_grid(clip: ClipConfig, size: tuple[int, int], field: str = "views") -> tuple[int, int]:
    """Patches (rows, columns) of an input of `size` (height, width), which `field` asks for.

    Raises:
        ConfigError: CLIP would not see the whole of it.
    """
    patch = clip.patch_size
    if any(side % patch for side in size):
        near = sorted({side // patch * patch + more for side in size for more in (0, patch)})
        raise ConfigError(
            f"{field} has the size {size}: expected multiples of this CLIP's patch size {patch}, "
            f"like {' or '.join(str(side) for side in near if side)}"
        )
    return size[0] // patch, size[1] // patch


def normalize_levels(
    levels: Float[Array, "... 3"] | UInt8[Array, "... 3"], clip: ClipConfig
) -> Float[Array, "... 3"]:
    """RGB levels 0..255 to CLIP's input."""
    mean, std = jnp.asarray(clip.pixel_mean), jnp.asarray(clip.pixel_std)
    return (levels / 255 - mean) / std


def average_over_views(
    views: Views,
    clip: ClipConfig,
    images: UInt8[Array, "b h w 3"],
    sizes: Int[Array, "b 2"],
    context: Any,
    look: Look,
) -> tuple[Float[Array, "b gh gw"], Float[Array, " b"]]:
    """Mean rough map, on the patch grid of the first size, and mean probability over all views.

    Args:
        views: sizes and orientations.
        clip: whose patch size, mean and std count.
        images: photos on their canvases.
        sizes: true (height, width) of the photos.
        context: pytree of rows [b, ...], repeated for every orientation.
        look: (normalised pixels, their (height, width), context rows) -> maps on the patch grid
            and the photos' probabilities.
    """
    grid = patch_grid(clip, views.size(clip))
    maps, probabilities = [], []
    for size, turns in views.looks(clip).items():
        levels = resize_pillow(images, sizes, size, size, "bicubic")
        pixels = normalize_levels(levels, clip)
        pixels = jnp.concatenate([jnp.rot90(pixels, k, (1, 2)) for k in turns])
        rows = jax.tree.map(lambda *same: jnp.concatenate(same), *[context] * len(turns))
        found, probability = look(pixels, size, rows)
        for part, k in zip(jnp.split(found, len(turns)), turns, strict=True):
            upright = jnp.rot90(part, -k, (1, 2))
            here = upright.shape[1], upright.shape[2]
            maps.append(resize_bilinear(upright, here, grid, grid))
        probabilities.append(probability.reshape(len(turns), -1))
    return jnp.stack(maps).mean(axis=0), jnp.concatenate(probabilities).mean(axis=0)
