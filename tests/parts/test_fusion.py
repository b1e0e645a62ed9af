import jax
import jax.numpy as jnp
import numpy as np

from zsas_jax.methods.refiners.cascade import fuse as cascade_fusion
from zsas_jax.methods.refiners.mmr import fuse as clipsam_fusion
from zsas_jax.ops.position import resampling_matrix
from zsas_jax.parts.fusion import min_max
from zsas_jax.parts.scores import image_score


def case(seed=0, shape=(23, 17)):
    """Random masks, and the matrices of plain bilinear interpolation from 8 x 8 to `shape`."""
    generator = np.random.default_rng(seed)
    rough = generator.random(shape).astype(np.float32)
    logits = generator.normal(size=(3, 2, 8, 8)).astype(np.float32)
    iou = generator.random((3, 2)).astype(np.float32)
    rows, columns = (resampling_matrix(8, size, "bilinear") for size in shape)
    upscaled = rows @ logits.astype(np.float64) @ columns.T
    matrices = tuple(jnp.asarray(matrix, jnp.float32) for matrix in (rows, columns))
    return rough, logits, iou, upscaled, matrices


def test_cascade_fusion_equals_numpy():
    rough, logits, iou, upscaled, matrices = case()
    best = (iou[..., None, None] / (1 + np.exp(-upscaled))).max(axis=(0, 1))
    for weight in (0.5, 0.2):
        found = jax.jit(cascade_fusion, static_argnums=4)(
            *map(jnp.asarray, (rough, logits, iou)), matrices, weight
        )
        np.testing.assert_allclose(found, weight * rough + (1 - weight) * best, atol=1e-6)


def test_clipsam_fusion_equals_numpy():
    rough, logits, iou, upscaled, matrices = case()
    total = rough + (iou[..., None, None] * (upscaled > 0)).sum(axis=(0, 1))
    for divisor in (4.0, 1.5):
        found = jax.jit(clipsam_fusion, static_argnums=4)(
            *map(jnp.asarray, (rough, logits, iou)), matrices, divisor
        )
        np.testing.assert_allclose(found, np.minimum(1, total / divisor), atol=1e-6)
    assert (total > 1.5).any()
    assert (total < 1.5).any()
    arrays = (*map(jnp.asarray, (rough, logits, iou)), matrices)
    np.testing.assert_allclose(clipsam_fusion(*arrays, 1.5, jnp.inf), total / 1.5, atol=1e-5)


def test_without_prompts_only_the_rough_map_remains():
    rough, logits, iou, _, matrices = case()
    arrays = (*map(jnp.asarray, (rough, logits, iou * 0)), matrices)
    np.testing.assert_allclose(cascade_fusion(*arrays), rough / 2, atol=1e-7)
    np.testing.assert_allclose(clipsam_fusion(*arrays), rough / 4, atol=1e-7)


def test_min_max_looks_inside_only_and_survives_constants():
    values = jnp.array([[0.2, 0.4, 9.0], [0.3, 0.6, -5.0]])
    inside = jnp.array([[True, True, False]] * 2)
    np.testing.assert_allclose(min_max(values, inside)[:, :2], [[0, 0.5], [0.25, 1]], atol=1e-6)
    np.testing.assert_array_equal(min_max(jnp.full((2, 2), 0.3), jnp.ones((2, 2), bool)), 0)


def test_image_score_is_the_mean_of_the_top_and_the_class_token():
    values = jnp.arange(200.0).reshape(10, 20) / 200
    inside = jnp.zeros((10, 20), bool).at[:5].set(True)  # 100 pixels, highest 0.495, 0.49
    score = image_score(values, inside, jnp.float32(0.8), 0.02, 0.25)
    assert abs(float(score) - (0.25 * (0.495 + 0.49) / 2 + 0.75 * 0.8)) < 1e-6
