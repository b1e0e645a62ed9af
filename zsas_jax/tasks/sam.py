"""Promptable segmentation as SAM is trained (Kirillov et al. 2023, section 3 and appendix A)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy import ndimage

from zsas_jax.data.synthetic.targets import find_targets
from zsas_jax.networks import sam as sam_network
from zsas_jax.networks.sam import Sam
from zsas_jax.training import losses
from zsas_jax.training.config import SamTaskConfig

# Slots kept free for the click that corrects the first round's mask.
CORRECTIONS = 1
_SMALLEST = 24  # pixels of a segment that can be a target


def sam_sample(
    view: dict[str, Any], rng: np.random.Generator, config: SamTaskConfig
) -> dict[str, np.ndarray]:
    """Targets of one picture with their first clicks and noisy boxes.

    Returns:
        image uint8 [S, S, 3]; targets uint8 [R, S, S]; points float32 [R, N, 2] (x, y) in pixels;
        labels int32 [R, N]; point_valid bool [R, N]; boxes float32 [R, 4] (x0, y0, x1, y1), the
        first and the last pixel; weight float32 [R], 0 where the picture has fewer targets than R.
    """
    segments = view["segments"].astype(np.int32)
    defect = view["mask"] > 0.5
    chosen = _choose_targets(segments, defect, rng, config)
    size = segments.shape[0]
    count, slots = config.prompts, config.points
    result = {
        "image": view["image"],
        "targets": np.zeros((count, size, size), np.uint8),
        "points": np.zeros((count, slots, 2), np.float32),
        "labels": np.zeros((count, slots), np.int32),
        "point_valid": np.zeros((count, slots), bool),
        "boxes": np.zeros((count, 4), np.float32),
        "weight": np.zeros(count, np.float32),
    }
    for row, target in enumerate(chosen):
        result["targets"][row] = target
        result["weight"][row] = 1
        result["boxes"][row] = _noisy_box(target, rng, config)
        alone = rng.random() < config.single_click
        points, labels = _first_clicks(target, rng, 1 if alone else slots - CORRECTIONS)
        result["points"][row, : len(points)] = points
        result["labels"][row, : len(points)] = labels
        result["point_valid"][row, : len(points)] = True
    return result


def sam_loss(
    sam: Sam,
    pixels: Float[Array, "b s s 3"],
    batch: dict[str, Array],
    key: jax.Array,
    config: SamTaskConfig,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Three rounds on one image embedding, each scored by the best of its masks.

    Clicks; the clicks with the first round's mask, a corrective click and, in half of the steps,
    the box (the stages of the cascade); and a box alone, through the single-mask token.
    """
    embedding = sam_network.encode_image(sam, pixels)
    low = 4 * embedding.shape[1]
    b, r, size, _ = batch["targets"].shape
    factor = size // low
    targets = batch["targets"].astype(jnp.float32)
    targets = targets.reshape(b, r, low, factor, low, factor).mean((3, 5))
    points, labels, valid = batch["points"], batch["labels"], batch["point_valid"]
    weight, boxes = batch["weight"], batch["boxes"]
    click_key, use_key, box_key = jax.random.split(key, 3)

    first = sam_network.decode_masks(sam, embedding, points, labels, valid, None, None)
    loss_points, best, iou_points = _score(first, targets, weight, config)
    previous = jax.lax.stop_gradient(best)

    slot = points.shape[2] - 1
    x, y, label = _correction(click_key, previous > 0, targets > 0.5)
    # SAM's clicks are pixel indices; it adds half a pixel itself.
    points = points.at[:, :, slot].set((jnp.stack([x, y], -1) + 0.5) * factor - 0.5)
    labels = labels.at[:, :, slot].set(label)
    # Half of the targets go on without the correction, as the pipeline's cascade does.
    valid = valid.at[:, :, slot].set(jax.random.bernoulli(use_key, 0.5, (b, r)))

    def refine(box: Array | None) -> sam_network.MaskPrediction:
        return sam_network.decode_masks(sam, embedding, points, labels, valid, box, previous)

    with_box = jax.random.bernoulli(box_key)
    second = jax.lax.cond(with_box, lambda: refine(boxes), lambda: refine(None))
    loss_refined, _, iou_refined = _score(second, targets, weight, config)

    boxed = sam_network.decode_masks(sam, embedding, None, None, None, boxes, None, multimask=False)
    loss_box, _, iou_box = _score(boxed, targets, weight, config)
    scalars = {"iou_points": iou_points, "iou_refined": iou_refined, "iou_box": iou_box}
    return (loss_points + loss_refined + loss_box) / 3, scalars


def _score(
    prediction: sam_network.MaskPrediction,
    targets: Float[Array, "b r h w"],
    weight: Float[Array, "b r"],
    config: SamTaskConfig,
) -> tuple[Float[Array, ""], Float[Array, "b r h w"], Float[Array, ""]]:
    """Loss, the logits of the mask with the highest predicted IoU, and their mean true IoU."""
    logits = prediction.logits.astype(jnp.float32)
    masks = jnp.broadcast_to(targets[:, :, None], logits.shape)
    focal, dice, iou = losses.mask_losses(logits, masks)
    segmentation = config.focal_weight * focal + config.dice_weight * dice
    quality = jnp.square(prediction.iou - jax.lax.stop_gradient(iou)).mean(-1)
    loss = segmentation.min(-1) + config.iou_weight * quality
    chosen = jnp.argmax(prediction.iou, axis=-1)[..., None]
    best = jnp.take_along_axis(logits, chosen[..., None, None], axis=2)[:, :, 0]
    best_iou = jnp.take_along_axis(iou, chosen, axis=2)[..., 0]
    total = jnp.maximum(weight.sum(), 1)
    return (loss * weight).sum() / total, best, (best_iou * weight).sum() / total


def _correction(
    key: jax.Array, predicted: Bool[Array, "b r h w"], truth: Bool[Array, "b r h w"]
) -> tuple[Int[Array, "b r"], Int[Array, "b r"], Int[Array, "b r"]]:
    """A random wrong pixel (column, row) and its true label; any pixel where nothing is wrong."""
    wrong = predicted ^ truth
    noise = jax.random.uniform(key, wrong.shape) + wrong
    index = jnp.argmax(noise.reshape(*wrong.shape[:2], -1), axis=-1)
    label = jnp.take_along_axis(truth.reshape(*wrong.shape[:2], -1), index[..., None], -1)[..., 0]
    width = wrong.shape[-1]
    return index % width, index // width, label.astype(jnp.int32)


def _choose_targets(
    segments: np.ndarray, defect: np.ndarray, rng: np.random.Generator, config: SamTaskConfig
) -> list[np.ndarray]:
    """Up to R masks: objects, parts, and connected pieces of the defect, defects preferred."""
    defects, things = find_targets(segments, defect, _SMALLEST)
    if len(defects) > 1:
        defects.append(defect)
    chosen: list[np.ndarray] = []
    for _ in range(config.prompts):
        first = defects if rng.random() < config.defect_share else things
        group = first or defects or things
        if not group:
            break
        chosen.append(group[rng.integers(len(group))])
    return chosen


def _noisy_box(target: np.ndarray, rng: np.random.Generator, config: SamTaskConfig) -> np.ndarray:
    rows, columns = np.flatnonzero(target.any(1)), np.flatnonzero(target.any(0))
    # The first and the last pixel inside, as the pipeline's boxes; SAM adds half a pixel itself.
    box = np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float32)
    sides = np.tile(box[2:] - box[:2] + 1, 2)
    limit = config.box_shift * target.shape[0] * (rng.random() >= config.box_exact)
    shift = np.clip(rng.normal(0, config.box_noise, 4) * sides, -limit, limit)
    return np.clip(box + shift, 0, target.shape[0] - 1).astype(np.float32)


def _first_clicks(
    target: np.ndarray, rng: np.random.Generator, slots: int
) -> tuple[np.ndarray, np.ndarray]:
    """One to half the slots inside the target, and up to half in a ring around it; a single slot
    is a click inside.
    """
    if slots == 1:
        return _random_pixels(target, 1, rng), np.ones(1, np.int32)
    half = slots // 2
    ring = ndimage.binary_dilation(target, iterations=max(target.shape[0] // 25, 1)) & ~target
    positive = _random_pixels(target, int(rng.integers(1, half + 1)), rng)
    negative = _random_pixels(ring, int(rng.integers(0, half + 1)), rng)
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    return np.concatenate([positive, negative]), labels.astype(np.int32)


def _random_pixels(area: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `count` different pixels (x, y) of an area."""
    inside = np.flatnonzero(area)
    rows, columns = np.divmod(
        rng.choice(inside, min(count, len(inside)), replace=False), area.shape[1]
    )
    return np.stack([columns, rows], axis=-1).astype(np.float32)
