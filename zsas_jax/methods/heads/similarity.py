"""Similarity of CLIP's last patch tokens to prompts: no training, no further network.

The class-token verdict of every head that is based on CLIP and text comes from here too.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Array, Float

from zsas_jax.checkpoints.bundle import Bundle
from zsas_jax.config import check_fields
from zsas_jax.methods.base import Head, Photos, Request, Rough
from zsas_jax.networks import Networks
from zsas_jax.networks.clip import Clip, encode_image, project_patches
from zsas_jax.parts.patches import abnormal_similarity
from zsas_jax.parts.text import encode_ensembles
from zsas_jax.parts.upsampling import Upsampling, upsample_map
from zsas_jax.parts.views import Views, average_over_views, patch_grid


@dataclasses.dataclass(frozen=True)
class Similarity:
    """CLIP's own similarity map."""

    views: Views = Views()
    upsampling: Upsampling = Upsampling()

    def __post_init__(self):
        check_fields(self, "head")


def prepare(
    bundle: Bundle, categories: Sequence[str], config: Any, request: Request
) -> Float[Array, "categories 2 d"]:
    """Text embeddings of the normal and the abnormal state of each category, L2-normalised."""
    del config
    clip = bundle.model.clip if bundle.model.has("clip") else None
    return encode_ensembles(clip, bundle.tokenizers.get("clip"), categories, request.prompts)


def rough(
    networks: Networks, photos: Photos, text: Float[Array, "b 2 d"], config: Similarity
) -> Rough:
    """The abnormal probability of every patch against the ensemble, at CLIP's logit scale."""
    clip: Clip = networks.clip
    images, sizes, _ = photos

    def look(pixels: Array, size: tuple[int, int], text: Array):
        encoding = encode_image(clip, pixels, (clip.config.vision_layers,))
        patches = project_patches(clip, encoding.patch_tokens[0])
        grid = patch_grid(clip.config, size)
        found = abnormal_similarity(clip, patches, text).reshape(-1, *grid)
        return found, abnormal_similarity(clip, encoding.class_embedding[:, None], text)[:, 0]

    grid, whole = average_over_views(config.views, clip.config, images, sizes, text, look)
    return Rough(grid, upsample_map(grid, images, sizes, config.upsampling), whole)


def check(networks: Mapping[str, Any], config: Any) -> None:
    """Refuses views (of any head with `views`) that are not whole patches of this CLIP."""
    for size in config.views.looks(networks["clip"]):
        patch_grid(networks["clip"], size, "head.views")


HEAD = Head(
    "similarity",
    "CLIP (Radford et al. 2021) with WinCLIP's prompt ensemble (Jeong et al. 2023)",
    Similarity,
    lambda config: ("clip",),
    prepare,
    rough,
    check=check,
)
