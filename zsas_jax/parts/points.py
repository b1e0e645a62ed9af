"""Point prompts: Co-Feature Point Prompt Generation (PPG, arXiv 2510.11028) and random points.

Points are (x, y) pixels of SAM's square input frame; maps are [side, side] on that frame. Every
function handles one image; `jax.vmap` over images and regions. Missing points are invalid and sit
at (0, 0).
"""

import dataclasses
import math
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from zsas_jax.config import Between, check_fields
from zsas_jax.ops.position import resampling_matrix
from zsas_jax.ops.ranking import masked_quantile
from zsas_jax.parts.regions import Regions, dilate_disc

NegativeRule = Literal[
    "least_similar_in_ring",
    "most_similar_in_ring",
    "lowest_score_in_ring",
    "least_similar_in_image",
    "none",
]


@dataclasses.dataclass(frozen=True)
class Foreground:
    """What of a rough map is anomalous enough to prompt SAM."""

    threshold: Annotated[float, Between(0, 1)] = 0.47
    """Foreground is at or above it (ClipSAM, Eq. 7 and Table 3)."""
    quantile: Annotated[float, Between(0, 1)] = 0.98
    """Foreground is also above this quantile of the image's rough map, so that only the extremely
    anomalous part prompts SAM. Not specified by the paper."""

    def __post_init__(self):
        check_fields(self, "foreground")


@dataclasses.dataclass(frozen=True)
class PointRules:
    """Point prompts of each region (PPG). Lengths are fractions of the side of SAM's frame."""

    top_k: Annotated[int, Between(1, 1000)] = 5
    """Positive points (Eq. 2's Topk). Not specified by the paper."""
    negatives: Annotated[int, Between(1, 1000)] = 5
    """Negative points. Not specified by the paper."""
    rule: Literal["distance", "stride"] = "distance"
    """How "intervals of 400 pixels" is read: a smallest distance between points chosen greedily, or
    a stride in the list of pixels sorted by score."""
    distance: Annotated[float, Between(0, 1)] = 0.06
    """Smallest distance between points of one kind. Not specified by the paper."""
    stride: Annotated[float, Between(0, 0.1)] = 400 / 1024**2
    """rule "stride": step in the sorted list, as a fraction of the frame's pixels (400 pixels of a
    frame of 1024 x 1024)."""
    negative_rule: NegativeRule = "least_similar_in_ring"
    """Which pixels become negative points: in the ring around the region, those least or most like
    the positive points in SAM's embedding, or of the lowest rough score; or the least similar of
    the whole image (PerSAM's rule); or none. The paper says that they are chosen in the ring by
    comparing features, not in which direction."""
    ring_radius: Annotated[float, Between(0, 0.5)] = 0.04
    """Radius of the dilation that makes the ring (Eq. 3). Not specified by the paper."""

    def __post_init__(self):
        check_fields(self, "points")


class PointPrompts(NamedTuple):
    """Points with SAM's labels (1 positive, 0 negative) and their validity."""

    points: Float[Array, "*r n 2"]
    labels: Int[Array, "*r n"]
    valid: Bool[Array, "*r n"]


def extreme_foreground(
    rough: Float[Array, "h w"], inside: Bool[Array, "h w"], threshold: float, quantile: float
) -> Bool[Array, "h w"]:
    """M_a: pixels at or above both the threshold and the image's own quantile (PPG, Eq. 1).

    Empty where the rough map never reaches the threshold.
    """
    tau = jnp.maximum(masked_quantile(rough, inside, quantile), threshold)
    return inside & (rough >= tau)


def greedy_points(
    scores: Float[Array, "h w"], allowed: Bool[Array, "h w"], count: int, distance: float
) -> tuple[Float[Array, "{count} 2"], Bool[Array, " {count}"]]:
    """The highest allowed scores, one after the other, at least `distance` pixels apart.

    Ties go to the first pixel in raster order.
    """
    rows = jnp.arange(scores.shape[0], dtype=jnp.int32)[:, None]
    columns = jnp.arange(scores.shape[1], dtype=jnp.int32)
    near = math.ceil(distance**2)

    def choose(remaining: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        # The best row, then its best pixel: one pass over the map, first in raster order.
        y = jnp.argmax(remaining.max(axis=1))
        x = jnp.argmax(remaining[y])
        found = remaining[y, x] > -jnp.inf
        taken = (rows - y) ** 2 + (columns - x) ** 2 < near
        taken |= (rows == y) & (columns == x)
        point = jnp.where(found, jnp.stack([x, y]), 0).astype(jnp.float32)
        return jnp.where(taken, -jnp.inf, remaining), (point, found)

    remaining = jnp.where(allowed, scores.astype(jnp.float32), -jnp.inf)
    return jax.lax.scan(choose, remaining, length=count)[1]


def strided_points(
    scores: Float[Array, "h w"], allowed: Bool[Array, "h w"], count: int, stride: int
) -> tuple[Float[Array, "{count} 2"], Bool[Array, " {count}"]]:
    """Every `stride`-th pixel of the allowed ones sorted by falling score, from the first on."""
    width = scores.shape[1]
    flat = jnp.where(allowed, scores.astype(jnp.float32), -jnp.inf).ravel()
    length = (count - 1) * stride + 1
    values, index = jax.lax.top_k(flat, min(length, flat.size))
    return _pick(values[::stride] > -jnp.inf, index[::stride], width, count)


def random_points(
    key: PRNGKeyArray, mask: Bool[Array, "h w"], count: int
) -> tuple[Float[Array, "{count} 2"], Bool[Array, " {count}"]]:
    """`count` random pixels of the mask without replacement: the highest of random scores."""
    scores = jnp.where(mask, jax.random.uniform(key, mask.shape), -1.0)
    values, index = jax.lax.top_k(scores.ravel(), min(count, scores.size))
    return _pick(values >= 0, index, mask.shape[1], count)


def _pick(
    valid: Bool[Array, " m"], index: Int[Array, " m"], width: int, count: int
) -> tuple[Array, Array]:
    missing = (0, count - index.size)
    valid, index = jnp.pad(valid, missing), jnp.pad(index, missing)
    points = jnp.stack([index % width, index // width], axis=-1)
    return jnp.where(valid[:, None], points, 0).astype(jnp.float32), valid


def prototype(
    embedding: Float[Array, "gh gw c"],
    points: Float[Array, "n 2"],
    valid: Bool[Array, " n"],
    side: int,
) -> Float[Array, " c"]:
    """Mean of the image embedding at the valid points (bilinear), L2-normalised; else zeros.

    `side`: the frame's side in pixels, which the embedding's grid covers.
    """
    height, width, _ = embedding.shape
    weights = []
    for size, coordinate in ((height, points[:, 1]), (width, points[:, 0])):
        cell = jnp.clip((coordinate + 0.5) * size / side - 0.5, 0, size - 1)
        weights.append(jnp.maximum(1 - jnp.abs(cell[:, None] - jnp.arange(size)), 0))
    weight = jnp.einsum("n,ny,nx->yx", valid.astype(jnp.float32), *weights)
    mean = jnp.einsum("yx,yxc->c", weight, embedding.astype(jnp.float32))
    return mean * jax.lax.rsqrt(jnp.maximum(jnp.sum(mean * mean), 1e-24))


def similarity_map(
    embedding: Float[Array, "gh gw c"], prototype: Float[Array, " c"], side: int
) -> Float[Array, "{side} {side}"]:
    """C: cosine of the embedding with a unit prototype, bilinear from its grid to the frame."""
    embedding = embedding.astype(jnp.float32)
    squared = jnp.sum(embedding * embedding, axis=-1)
    cosine = (embedding @ prototype) * jax.lax.rsqrt(jnp.maximum(squared, 1e-24))
    rows = jnp.asarray(resampling_matrix(cosine.shape[0], side, "bilinear"), jnp.float32)
    columns = jnp.asarray(resampling_matrix(cosine.shape[1], side, "bilinear"), jnp.float32)
    return jnp.einsum("yi,ij,xj->yx", rows, cosine, columns, precision=jax.lax.Precision.HIGHEST)


def negative_scores(
    rule: NegativeRule,
    rough: Float[Array, "h w"],
    similarity: Float[Array, "h w"],
    ring: Bool[Array, "h w"],
    inside: Bool[Array, "h w"],
) -> tuple[Float[Array, "h w"], Bool[Array, "h w"]]:
    """What negative points maximise, and where they may lie, by the name of the rule."""
    return {
        "least_similar_in_ring": (-similarity, ring),
        "most_similar_in_ring": (similarity, ring),
        "lowest_score_in_ring": (-rough, ring),
        "least_similar_in_image": (-similarity, inside),
        "none": (rough, jnp.zeros_like(ring)),
    }[rule]


def co_feature_points(
    rough: Float[Array, "side side"],
    foreground: Bool[Array, "side side"],
    inside: Bool[Array, "side side"],
    regions: Regions,
    embedding: Float[Array, "gh gw c"],
    config: PointRules,
) -> PointPrompts:
    """PPG for every region: positive points inside it, negative ones in the ring around it.

    Positive points maximise R_a = S_a M_a (Eq. 2). Negative ones lie in N_a = dilate(M_a) - M_a
    (Eq. 3), by default those least like the positive ones in SAM's embedding: beside the anomaly,
    yet sure not to be part of it.

    Returns:
        [Q, top_k + negatives] points, the positive ones first.
    """
    side = rough.shape[0]
    distance = config.distance * side
    stride = max(1, round(config.stride * side**2))
    rings = dilate_disc(regions.masks, config.ring_radius * side) & inside & ~foreground

    def positive(mask: Array) -> tuple[Array, Array]:
        if config.rule == "stride":
            return strided_points(rough, mask, config.top_k, stride)
        return greedy_points(rough, mask, config.top_k, distance)

    def negative(points: Array, valid: Array, ring: Array) -> tuple[Array, Array]:
        similarity = similarity_map(embedding, prototype(embedding, points, valid, side), side)
        scores, allowed = negative_scores(config.negative_rule, rough, similarity, ring, inside)
        # An invalid region has no positive points and gets no negative ones.
        return greedy_points(scores, allowed & valid.any(), config.negatives, distance)

    points, valid = jax.vmap(positive)(regions.masks)
    other, other_valid = jax.vmap(negative)(points, valid, rings)
    labels = np.array([1] * config.top_k + [0] * config.negatives, np.int32)
    return PointPrompts(
        jnp.concatenate([points, other], axis=1),
        jnp.broadcast_to(labels, (points.shape[0], labels.size)),
        jnp.concatenate([valid, other_valid], axis=1),
    )
