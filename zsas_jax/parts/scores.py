"""The image score, and the last step of every method."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from zsas_jax.config import Between, check_fields
from zsas_jax.ops.ranking import top_fraction_mean
from zsas_jax.parts.frames import inside_mask


@dataclasses.dataclass(frozen=True)
class Score:
    """How a photo's score comes from its map and from the class token."""

    top_fraction: Annotated[float, Between(0, 1)] = 0.005
    """The mean of this highest fraction of the map counts. Not specified by the papers."""
    map_weight: Annotated[float, Between(0, 1)] = 0.5
    """Weight of that mean against the probability that the head gives the photo as a whole. Not
    specified by the papers."""

    def __post_init__(self):
        check_fields(self, "score")


def image_score(
    anomaly_map: Float[Array, "h w"],
    inside: Bool[Array, "h w"],
    probability: Float[Array, ""],
    top_fraction: float = 0.005,
    map_weight: float = 0.5,
) -> Float[Array, ""]:
    """Mean of the map's highest values inside the image, and the probability of the whole."""
    top = top_fraction_mean(anomaly_map, inside, top_fraction)
    return map_weight * top + (1 - map_weight) * probability


def inside_photo(
    values: Float[Array, "b h w"], sizes: Int[Array, "b 2"]
) -> tuple[Float[Array, "b h w"], Bool[Array, "b h w"]]:
    """Maps in float32, cut to [0, 1] and to their photos; and where the photos are."""
    inside = inside_mask(sizes, (values.shape[1], values.shape[2]))
    return jnp.where(inside, jnp.clip(values.astype(jnp.float32), 0, 1), 0), inside


def finish(
    fused: Float[Array, "b h w"],
    sizes: Int[Array, "b 2"],
    probability: Float[Array, " b"],
    config: Score,
) -> tuple[Float[Array, "b h w"], Float[Array, " b"]]:
    """The anomaly maps, cut to their photos, and the image scores."""
    found, inside = inside_photo(fused, sizes)
    score = jax.vmap(
        lambda values, where, whole: image_score(
            values, where, whole, config.top_fraction, config.map_weight
        )
    )(found, inside, probability.astype(jnp.float32))
    return found, score
