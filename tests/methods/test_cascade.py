"""CPS against a loop over images and regions that prompts SAM with valid points only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zsas_jax.methods.refiners.cascade import Cascade, boxes_of_masks, cascade_masks
from zsas_jax.networks.sam import Sam, decode_masks
from zsas_jax.networks.sam.config import SMALL as SMALL_SAM
from zsas_jax.parts.points import PointPrompts
from zsas_jax.parts.regions import Regions
from zsas_jax.testing import random_weights

FRAME = np.array([[64, 50], [40, 64]], np.int32)


decode = jax.jit(decode_masks)


@pytest.fixture(scope="module")
def sam():
    return random_weights(lambda: Sam(SMALL_SAM, rngs=nnx.Rngs(0)))


def case():
    generator = np.random.default_rng(1)
    embedding = generator.normal(size=(2, 4, 4, 16)).astype(np.float32)
    points = generator.integers(0, 40, (2, 3, 4, 2)).astype(np.float32)
    labels = np.broadcast_to(np.int32([1, 1, 0, 0]), (2, 3, 4))
    valid = np.array(
        [[[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], [[0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]]],
        bool,
    )
    boxes = np.array([[3, 4, 20, 30], [0, 0, 5, 5], [0, 0, 0, 0]], np.float32)
    boxes = np.stack([boxes, boxes + np.float32(7)])
    owner = generator.integers(0, 4, (2, 64, 64))
    masks = (owner[:, None] == np.arange(3)[:, None, None]) & valid.any(axis=-1)[..., None, None]
    regions = Regions(masks, np.zeros((2, 3), np.int32), boxes, valid.any(axis=-1))
    prompts = PointPrompts(points, labels, valid)
    rough = generator.random((2, 64, 64), np.float32) * np.float32([0.9, 0.4])[:, None, None]
    return jax.tree.map(jnp.asarray, (embedding, prompts, regions, rough))


def reference(sam, embedding, prompts, regions, stages, margin):
    """One region at a time; points that are not valid do not exist."""
    logits, ious = np.zeros((2, 3, 16, 16)), np.zeros((2, 3))
    for b in range(2):
        for r in range(3):
            keep = np.flatnonzero(prompts.valid[b, r])
            if not len(keep):
                continue
            image = embedding[b : b + 1]
            points = [x[b : b + 1, r : r + 1][:, :, keep] for x in prompts[:2]]

            def best(image=image, points=points, **more):
                found = decode(sam, image, *points, **more)
                index = int(np.argmax(found.iou[0, 0]))
                return found.logits[:, :, index], float(found.iou[0, 0, index])

            mask, iou = best()
            if stages >= 2:
                mask, iou = best(mask_input=mask)
            if stages >= 3:
                height, width = FRAME[b]
                foreground = np.kron(np.asarray(mask[0, 0]) > 0, np.ones((4, 4), bool))
                foreground[-(-height // 4) * 4 :] = False
                foreground[:, -(-width // 4) * 4 :] = False
                box = np.asarray(regions.boxes[b, r])
                if foreground.any():
                    y, x = np.nonzero(foreground)
                    pad = margin * 64
                    box = [x.min() - pad, y.min() - pad, x.max() + pad, y.max() + pad]
                    box = np.clip(box, 0, [width - 1, height - 1] * 2)
                box = jnp.asarray(box, jnp.float32)[None, None]
                mask, iou = best(mask_input=mask, boxes=box)
            logits[b, r], ious[b, r] = mask[0, 0], np.clip(iou, 0, 1)
    return logits, ious


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_equals_a_loop_without_padding(sam, stages):
    embedding, prompts, regions, rough = case()
    config = Cascade(stages=stages, box_margin=0.03)
    masks = jax.jit(cascade_masks, static_argnames="config")(
        sam, embedding, prompts, regions, rough, jnp.asarray(FRAME), config=config
    )
    logits, ious = reference(sam, embedding, prompts, regions, stages, 0.03)
    valid = np.asarray(regions.valid)
    assert masks.logits.shape == (2, 3, 1, 16, 16)
    scale = np.abs(logits).max()
    np.testing.assert_allclose(masks.logits[:, :, 0][valid], logits[valid], atol=1e-4 * scale)
    np.testing.assert_allclose(masks.iou[..., 0], ious, atol=1e-4)
    np.testing.assert_array_equal(masks.confidence, masks.iou)
    assert masks.iou[0, 2] == 0
    np.testing.assert_array_equal(masks.valid, valid)
    assert (masks.boxes is None) == (stages < 3)


def test_a_mask_of_a_faint_region_counts_less(sam):
    embedding, prompts, regions, rough = case()
    config = Cascade(stages=1, mask_confidence="iou_times_rough")
    masks = jax.jit(cascade_masks, static_argnames="config")(
        sam, embedding, prompts, regions, rough, jnp.asarray(FRAME), config=config
    )
    for b in range(2):
        for r in range(3):
            inside = np.asarray(rough[b])[np.asarray(regions.masks[b, r])]
            expected = masks.iou[b, r] * (inside.max() if inside.size else 0)
            np.testing.assert_allclose(masks.confidence[b, r], expected, rtol=1e-6)
    ratio = np.asarray(masks.confidence / jnp.maximum(masks.iou, 1e-9))[..., 0]
    assert ratio[0, 0] > 0.85
    assert ratio[1, 0] < 0.41


def test_boxes_of_masks_use_the_margin_the_image_and_the_fallback():
    logits = np.full((1, 3, 16, 16), -1.0, np.float32)
    logits[0, 0, 4:6, 8] = 1  # rows 16 to 23, columns 32 to 35
    logits[0, 1, :, 14:] = 1  # outside the image
    logits[0, 2, 0, 0] = 1
    fallback = jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0, 4.0]), (1, 3, 4))
    boxes = boxes_of_masks(jnp.asarray(logits), fallback, jnp.asarray(FRAME[:1]), 64, 2 / 64)
    np.testing.assert_allclose(boxes[0], [[30, 14, 37, 25], [1, 2, 3, 4], [0, 0, 5, 5]])
