"""UMCI: ClipSAM's trained module on CLIP's patch tokens (Li et al. 2024, section 3.2)."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from jaxtyping import Array, Float

from zsas_jax.config import Between, check_fields
from zsas_jax.errors import ConfigError
from zsas_jax.methods.base import Head, Photos, Rough
from zsas_jax.methods.heads import similarity
from zsas_jax.methods.heads.umci_training import TRAINING
from zsas_jax.networks import Networks
from zsas_jax.networks.clip import Clip, encode_image, project_patches
from zsas_jax.networks.umci import Umci, anomaly_probability
from zsas_jax.parts.patches import abnormal_similarity
from zsas_jax.parts.upsampling import Upsampling, upsample_map
from zsas_jax.parts.views import Views, average_over_views, patch_grid


@dataclasses.dataclass(frozen=True)
class UmciHead:
    """UMCI's abnormal probability, mean over its stages."""

    views: Views = Views()
    upsampling: Upsampling = Upsampling()
    stages: Annotated[int, Between(0)] = 0
    """The map is the mean of this many stages, those listed last in UMCI's `layers` (the deepest,
    in ClipSAM's order); the others are not computed. 0 takes all, as ClipSAM (after Eq. 6)."""
    similarity_weight: Annotated[float, Between(0, 1)] = 0.0
    """Weight of CLIP's own similarity against UMCI's probability; in no paper, for CLIPs whose
    patches were trained along."""

    def __post_init__(self):
        check_fields(self, "head")


def rough(
    networks: Networks, photos: Photos, text: Float[Array, "b 2 d"], config: UmciHead
) -> Rough:
    """The mean of the stages' abnormal probabilities on the patch grid."""
    clip: Clip = networks.clip
    umci: Umci = networks.umci
    images, sizes, _ = photos
    share = config.similarity_weight

    def look(pixels: Array, size: tuple[int, int], text: Array):
        grid = patch_grid(clip.config, size)
        layers = umci.config.layers[-config.stages :]
        encoding = encode_image(clip, pixels, (*layers, clip.config.vision_layers))
        found = anomaly_probability(umci, encoding.patch_tokens[:-1], grid, text, config.stages)
        if share:
            patches = project_patches(clip, encoding.patch_tokens[-1])
            similar = abnormal_similarity(clip, patches, text).reshape(-1, *grid)
            found = (1 - share) * found + share * similar
        return found, abnormal_similarity(clip, encoding.class_embedding[:, None], text)[:, 0]

    grid, whole = average_over_views(config.views, clip.config, images, sizes, text, look)
    return Rough(grid, upsample_map(grid, images, sizes, config.upsampling), whole)


def check(networks: Mapping[str, Any], config: UmciHead) -> None:
    """Refuses views that are not whole patches, and more stages than there are."""
    similarity.check(networks, config)
    count = len(networks["umci"].layers)
    if config.stages > count:
        raise ConfigError(
            f"head.stages is {config.stages}: expected at most the {count} stages of this UMCI"
        )


HEAD = Head(
    "umci",
    "ClipSAM, section 3.2 (Li et al. 2024)",
    UmciHead,
    lambda config: ("clip", "umci"),
    similarity.prepare,
    rough,
    training=TRAINING,
    check=check,
)
