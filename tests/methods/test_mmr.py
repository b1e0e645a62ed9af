import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from scipy import ndimage
from skimage.measure import label, regionprops

from zsas_jax.methods.refiners.mmr import Mmr, refined_masks, spatial_prompts
from zsas_jax.networks.sam import Sam, decode_masks
from zsas_jax.networks.sam.config import SMALL as SMALL_SAM
from zsas_jax.testing import random_weights

CONFIG = Mmr(boxes=7, points=4, threshold=0.5)


decode = jax.jit(decode_masks)


def prompts_of(rough, inside, seed=0):
    return jax.jit(spatial_prompts, static_argnums=3)(
        jnp.asarray(rough), jnp.asarray(inside), jax.random.key(seed), CONFIG
    )


def rough_case():
    rough = ndimage.gaussian_filter(np.random.default_rng(0).random((40, 40)), 2)
    rough = ((rough - rough.min()) / np.ptp(rough)).astype(np.float32)
    inside = np.zeros((40, 40), bool)
    inside[:32, :36] = True
    return rough, inside


def test_boxes_and_points_equal_skimage():
    rough, inside = rough_case()
    rough[3, 3] = 0.5  # Eq. 7 is strict
    prompts, regions = prompts_of(rough, inside)
    foreground = (rough > 0.5) & inside
    properties = regionprops(label(foreground, connectivity=2))
    properties = sorted(properties, key=lambda region: -region.area)[:7]
    assert len(properties) >= 3
    np.testing.assert_array_equal(regions.valid, np.arange(7) < len(properties))
    for region, box in zip(properties, regions.boxes, strict=False):
        y0, x0, y1, x1 = region.bbox
        np.testing.assert_array_equal(box, [x0, y0, x1 - 1, y1 - 1])
    points = np.asarray(prompts.points, int)
    assert (points == points[0]).all()
    assert foreground[points[0, :, 1], points[0, :, 0]].all()
    assert len({tuple(point) for point in points[0]}) == 4
    np.testing.assert_array_equal(
        prompts.valid, np.asarray(regions.valid)[:, None] & np.ones(4, bool)
    )
    other, _ = prompts_of(rough, inside, seed=1)
    assert (np.asarray(other.points) != np.asarray(prompts.points)).any()


def test_an_image_without_foreground_has_no_prompts():
    rough, inside = rough_case()
    prompts, regions = prompts_of(rough * 0.5, inside)
    assert not prompts.valid.any()
    assert not regions.valid.any()


def test_masks_equal_sam_box_by_box():
    sam = random_weights(lambda: Sam(SMALL_SAM, rngs=nnx.Rngs(0)))
    rough, inside = rough_case()
    rough, inside = np.pad(rough, (0, 24)), np.pad(inside, (0, 24))
    prompts, regions = prompts_of(rough, inside)
    embedding = jnp.asarray(np.random.default_rng(1).normal(size=(1, 4, 4, 16)), jnp.float32)
    batched = jax.tree.map(lambda x: x[None], (prompts, regions))
    masks = jax.jit(refined_masks)(sam, embedding, *batched)
    assert masks.logits.shape == (1, 7, 3, 16, 16)
    for slot in (0, 1, 6):
        if not regions.valid[slot]:
            assert (masks.iou[0, slot] == 0).all()
            continue
        one = decode(
            sam,
            embedding,
            prompts.points[None, slot : slot + 1],
            prompts.labels[None, slot : slot + 1],
            None,
            regions.boxes[None, slot : slot + 1],
        )
        np.testing.assert_allclose(masks.logits[0, slot], one.logits[0, 0], atol=1e-5)
        np.testing.assert_allclose(masks.iou[0, slot], np.clip(one.iou[0, 0], 0, 1), atol=1e-5)
