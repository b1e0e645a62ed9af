"""Promptable segmentation as SAM is trained (Kirillov et al. 2023, section 3 and appendix A)."""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int
from scipy import ndimage

from zsas_jax.checkpoints import Bundle
from zsas_jax.config import Between, check_fields
from zsas_jax.data.synthetic.targets import find_targets
from zsas_jax.errors import ConfigError
from zsas_jax.networks import sam as sam_network
from zsas_jax.networks.clip import NETWORK as CLIP_NETWORK
from zsas_jax.networks.sam import Sam, SamConfig, normalize_pixels, resized
from zsas_jax.ops import losses
from zsas_jax.ops.layers import cast_parameters
from zsas_jax.tasks import starting
from zsas_jax.tasks.initialization import (
    align_positions,
    initialize_image_encoder,
    transfer_image_tower,
)
from zsas_jax.training.config import Generated, TaskConfig, TrainConfig
from zsas_jax.training.generated import generated_batches, some_images, steps_per_epoch
from zsas_jax.training.loop import Batch, Scalars, Task
from zsas_jax.training.provenance import describe

CLIP = CLIP_NETWORK.name
# Slots kept free for the click that corrects the first round's mask.
CORRECTIONS = 1
_SMALLEST = 24  # pixels of a segment that can be a target


@dataclasses.dataclass(frozen=True)
class SamTask(TaskConfig):
    """Promptable segmentation as SAM is trained (SAM, appendix A): clicks, boxes, masks."""

    sizes: SamConfig | None = None
    """Of a fresh SAM; None takes that of `init`."""
    data: Generated = Generated()

    view_size: int = 0
    """Side of the training views in pixels, and of the saved SAM's input frame; 0 is that of the
    config or of `init`, whose learned positions are resampled for another."""
    from_clip: bool = False
    """Whether a fresh SAM's image encoder starts from the image tower of `init`'s CLIP."""
    prompts: Annotated[int, Between(1)] = 4
    """Targets (segments) per picture."""
    points: Annotated[int, Between(2)] = 8
    """Point slots of a prompt: first clicks, then one correction; at least 2."""
    single_click: Annotated[float, Between(0, 1)] = 0.4
    """Share of targets with one click inside as their first prompt (half of SAM's, the others begin
    with a box). The others have up to half the slots inside and as many around them, as a rough
    map's prompts."""
    focal_weight: float = 20.0
    dice_weight: float = 1.0
    iou_weight: float = 1.0
    box_noise: Annotated[float, Between(0)] = 0.1
    """Standard deviation of a box corner, as a fraction of the box side (SAM: 10 %)."""
    box_shift: Annotated[float, Between(0, 1)] = 20 / 1024
    """Greatest shift of a box corner, as a fraction of the picture's side (SAM: 20 of 1024 pixels).
    Boxes of a rough map are farther off."""
    box_exact: Annotated[float, Between(0, 1)] = 0.0
    """Share of boxes without noise."""
    defect_share: Annotated[float, Between(0, 1)] = 0.5
    """Share of targets that are defects where the picture has one."""

    def __post_init__(self):
        check_fields(self, "task")


def sam_task(config: TrainConfig, task: SamTask) -> Task:
    """A fresh or further trained SAM on the generator's pictures.

    Raises:
        ConfigError: no sizes, or `from_clip` without a CLIP.
    """
    name = sam_network.NETWORK.name
    start = starting.start(config, {name: task.sizes})
    sizes: SamConfig = starting.sizes_of(start, name, "task.sizes")
    size = task.view_size or sizes.image_size
    if start.model.has(name):
        sam = getattr(start.model, name)
    elif task.from_clip and not start.model.has(CLIP):
        raise ConfigError("task.from_clip is set, but `init` has no CLIP: expected one")
    else:
        sam = starting.fresh(lambda: Sam(sizes, rngs=nnx.Rngs(config.seed)))
        align_positions(sam, config.seed)
        if not task.from_clip:
            initialize_image_encoder(sam, some_images(task.data), config.seed)
        else:
            transfer_image_tower(sam, getattr(start.model, CLIP), some_images(task.data))
            start = starting.without(start, *start.model.names)  # What this run saves is a SAM.
    if size != sizes.image_size:
        sam = resized(sam, size)
    graphdef, params, frozen = nnx.split(sam, nnx.Param, ...)

    def sample(view: dict[str, Any], rng: np.random.Generator) -> Batch:
        return sam_sample(view, rng, task)

    def loss(params, frozen, batch: Batch, key: jax.Array) -> tuple[jax.Array, Scalars]:
        sam = cast_parameters(nnx.merge(graphdef, params, frozen), config.precision)
        pixels = normalize_pixels(batch["image"].astype(jnp.float32), sam.config)
        return sam_loss(sam, pixels, batch, key, task)

    def export(params) -> Bundle:
        return starting.with_networks(start, **{name: nnx.merge(graphdef, params, frozen)})

    return Task(
        params,
        frozen,
        loss,
        generated_batches(config, task.data, size, sample),
        export,
        steps_per_epoch(config, task.data),
        provenance=describe(config, task.data),
    )


def sam_sample(
    view: dict[str, Any], rng: np.random.Generator, config: SamTask
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
    config: SamTask,
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
    config: SamTask,
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
    segments: np.ndarray, defect: np.ndarray, rng: np.random.Generator, config: SamTask
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


def _noisy_box(target: np.ndarray, rng: np.random.Generator, config: SamTask) -> np.ndarray:
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
