"""How a rough map goes from the patch grid to the photo's own pixels."""

import dataclasses
from typing import Annotated, Literal

import jax
from jaxtyping import Array, Float, Int, UInt8

from zsas_jax.config import Between, check_fields
from zsas_jax.ops.guided import guided_upsampling
from zsas_jax.ops.resize import resize_bilinear


@dataclasses.dataclass(frozen=True)
class Upsampling:
    """Of the rough map alone: prompts are made from the map on its own grid."""

    rule: Literal["bilinear", "guided"] = "bilinear"
    """"guided" is the fast guided filter (arXiv 1505.00996) on twice the patch grid: edges of the
    map move to those of the photo. None of the papers does it."""
    radius: Annotated[float, Between(0, 0.5)] = 0.02
    """The guided filter's windows reach this fraction of the photo's sides to each side, rounded to
    cells of half a patch, at least one."""
    epsilon: Annotated[float, Between(1e-6)] = 1e-3
    """The guided filter follows edges whose colours vary by more than this (variance of levels in
    [0, 1])."""

    def __post_init__(self):
        check_fields(self, "upsampling")


def upsample_map(
    grid: Float[Array, "b gh gw"],
    images: UInt8[Array, "b h w 3"],
    sizes: Int[Array, "b 2"],
    config: Upsampling,
) -> Float[Array, "b h w"]:
    """Maps that each cover their whole photo, on the photos' canvases."""
    if config.rule == "guided":
        return guided_upsampling(grid, images, sizes, config.radius, config.epsilon)
    here, canvas = (grid.shape[1], grid.shape[2]), (images.shape[1], images.shape[2])
    return jax.vmap(lambda x, size: resize_bilinear(x, here, size, canvas))(grid, sizes)
