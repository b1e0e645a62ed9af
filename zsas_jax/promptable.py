"""What a SAM segments from one click or one box, on held-out synthetic pictures.

Targets are objects, their parts (both with what they enclose) and connected pieces of defects. The
click is the pixel farthest from the target's edge (as SAM's evaluation chooses it), the box is the
target's own. `oracle` is the best of the three masks that a click gives, `filled box` what no
network is needed for. The lower rows are all targets again, by their share of the picture.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8
from scipy import ndimage

from zsas_jax.data.synthetic import Sample, SyntheticSource
from zsas_jax.data.synthetic.targets import find_targets
from zsas_jax.networks import sam as sam_network
from zsas_jax.networks.sam import Sam
from zsas_jax.parts.regions import mask_boxes
from zsas_jax.parts.sam_masks import embed_photos

SMALLEST = 24  # pixels of a target, in pictures of side 256
TARGETS = 4  # of a picture, at random where it has more
PROMPTS = ("click", "oracle", "box", "filled box")
AREAS = (0.005, 0.05)  # of the picture: where the table's small, medium and large targets part


class Target(NamedTuple):
    """What is to be segmented, bool [H, W]; `kind` is "defect" or "object"."""

    kind: str
    mask: Bool[np.ndarray, "h w"]


class Score(NamedTuple):
    """IoU with each of `PROMPTS`, of a target of that kind and share of the picture."""

    kind: str
    area: float
    values: list[float]


def measure(sam: Sam, seeds: Sequence[int], per_class: int) -> str:
    """The table of so many pictures of each held-out class, with several seeds."""
    sources = [SyntheticSource("eval", seed, per_class) for seed in seeds]
    return table([row for source in sources for row in intersections(sam, source)])


def intersections(sam: Sam, source: SyntheticSource) -> Iterator[Score]:
    """The scores of every target of the pictures."""
    for index in range(len(source)):
        sample = source.sample(index)
        found = targets(sample)
        picks = np.random.default_rng((source.seed, index)).permutation(len(found))[:TARGETS]
        chosen = [found[i] for i in sorted(picks)]
        if not chosen:
            continue
        truth = np.zeros((TARGETS, *sample.mask.shape), bool)
        points = np.zeros((TARGETS, 1, 2), np.float32)
        for row, target in enumerate(chosen):
            truth[row], points[row, 0] = target.mask, innermost(target.mask)
        masks = jax.device_get(_segment(sam, sample.image, points, truth))
        for row, target in enumerate(chosen):
            clicks = [_iou(mask, target.mask) for mask in masks.clicked[row]]
            believed = clicks[int(masks.quality[row].argmax())]
            boxed, filled = (_iou(each[row], target.mask) for each in (masks.boxed, masks.filled))
            values = [believed, max(clicks), boxed, filled]
            yield Score(target.kind, float(target.mask.mean()), values)


def targets(sample: Sample) -> list[Target]:
    """Objects, parts and pieces of the defect that are large enough to be seen."""
    least = round(SMALLEST * (sample.mask.shape[0] / 256) ** 2)
    defects, things = find_targets(sample.segments, sample.mask, least)
    found = [Target("defect", mask) for mask in defects]
    return found + [Target("object", mask) for mask in things]


def innermost(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
    """(x, y) of the pixel that is farthest from the mask's edge, the picture's border included."""
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), mask.shape)
    return int(column), int(row)


def table(scores: Sequence[Score]) -> str:
    """Mean IoU by kind of target and by its share of the picture, as markdown."""
    lines = [f"| targets | number | {' | '.join(PROMPTS)} |", "|---" * (len(PROMPTS) + 2) + "|"]
    low, high = AREAS
    for name, chosen in (
        ("defect", [score for score in scores if score.kind == "defect"]),
        ("object", [score for score in scores if score.kind == "object"]),
        ("all", scores),
        (f"below {low:.1%}", [score for score in scores if score.area < low]),
        (f"{low:.1%} to {high:.0%}", [score for score in scores if low <= score.area < high]),
        (f"{high:.0%} and above", [score for score in scores if score.area >= high]),
    ):
        if chosen:
            means = np.mean([score.values for score in chosen], axis=0)
            columns = " | ".join(f"{mean:.3f}" for mean in means)
            lines.append(f"| {name} | {len(chosen)} | {columns} |")
    return "\n".join(lines)


class _Masks(NamedTuple):
    clicked: Bool[Array, "r 3 h w"]
    quality: Float[Array, "r 3"]
    boxed: Bool[Array, "r h w"]
    filled: Bool[Array, "r h w"]


@jax.jit
def _segment(
    sam: Sam,
    image: UInt8[Array, "h w 3"],
    points: Float[Array, "r 1 2"],
    truth: Bool[Array, "r h w"],
) -> _Masks:
    """Masks of a square picture at its own size; `points` (x, y) are pixel indices."""
    side, size = sam.config.image_size, image.shape[0]
    embedding = embed_photos(sam, image[None], jnp.full((1, 2), size), jnp.full((1, 2), side))
    boxes, _ = mask_boxes(truth)

    def in_frame(indices: Float[Array, "..."]) -> Float[Array, "..."]:
        """SAM's pixels are indices too; it adds half a pixel itself."""
        return (indices[None] + 0.5) * (side / size) - 0.5

    labels = jnp.ones((1, len(points), 1), jnp.int32)
    clicked = sam_network.decode_masks(sam, embedding, in_frame(points), labels)
    boxed = sam_network.decode_masks(sam, embedding, boxes=in_frame(boxes), multimask=False)

    def full(logits: Float[Array, "r m h4 w4"]) -> Bool[Array, "r m h w"]:
        return jax.image.resize(logits, (*logits.shape[:2], size, size), "linear") > 0

    x, y = jnp.arange(size), jnp.arange(size)[:, None]
    x0, y0, x1, y1 = (boxes[:, i, None, None] for i in range(4))
    filled = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    return _Masks(full(clicked.logits[0]), clicked.iou[0], full(boxed.logits[0])[:, 0], filled)


def _iou(first: Bool[np.ndarray, "h w"], second: Bool[np.ndarray, "h w"]) -> float:
    return float((first & second).sum() / (first | second).sum())
