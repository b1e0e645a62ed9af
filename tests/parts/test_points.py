"""Point prompts against plain NumPy writings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from zsas_jax.parts.points import (
    PointRules,
    co_feature_points,
    extreme_foreground,
    greedy_points,
    prototype,
    random_points,
    similarity_map,
    strided_points,
)
from zsas_jax.parts.regions import connected_components, largest_regions


def numpy_greedy(scores, allowed, count, distance):
    scores, points = scores.copy(), []
    allowed = allowed.copy()
    y, x = np.indices(scores.shape)
    while len(points) < count and allowed.any():
        index = np.argmax(np.where(allowed, scores, -np.inf))
        row, column = np.unravel_index(index, scores.shape)
        points.append((column, row))
        allowed &= (y - row) ** 2 + (x - column) ** 2 >= distance**2
        allowed[row, column] = False
    return np.array(points, np.float32).reshape(-1, 2)


def assert_points(found, expected, count):
    points, valid = found
    assert points.shape == (count, 2)
    np.testing.assert_array_equal(valid, np.arange(count) < len(expected))
    np.testing.assert_array_equal(np.asarray(points)[: len(expected)], expected)
    np.testing.assert_array_equal(np.asarray(points)[len(expected) :], 0)


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.5, 8.0, 100.0])
@pytest.mark.parametrize("levels", [3, 1000])
def test_greedy_points_equal_numpy(distance, levels):
    generator = np.random.default_rng(0)
    scores = (generator.integers(0, levels, (15, 22)) / levels).astype(np.float32)
    for density in (0.0, 0.02, 0.5):
        allowed = generator.random(scores.shape) < density
        found = jax.jit(greedy_points, static_argnums=(2, 3))(
            jnp.asarray(scores), jnp.asarray(allowed), 5, distance
        )
        assert_points(found, numpy_greedy(scores, allowed, 5, distance), 5)


@pytest.mark.parametrize("stride", [1, 7, 400])
@pytest.mark.parametrize("density", [0.0, 0.03, 0.7])
def test_strided_points_equal_numpy(stride, density):
    generator = np.random.default_rng(1)
    scores = generator.random((15, 22)).astype(np.float32)
    allowed = generator.random(scores.shape) < density
    index = np.argsort(-np.where(allowed, scores, -1).ravel(), kind="stable")[: allowed.sum()]
    index = index[::stride][:4]
    expected = np.stack([index % 22, index // 22], axis=-1)
    found = strided_points(jnp.asarray(scores), jnp.asarray(allowed), 4, stride)
    assert_points(found, expected, 4)


def test_random_points_are_distinct_uniform_and_depend_on_the_key_alone():
    mask = np.zeros((9, 11), bool)
    mask[2:5, 3:7] = True
    draw = jax.jit(jax.vmap(lambda key: random_points(key, jnp.asarray(mask), 5)))
    points, valid = draw(jax.vmap(jax.random.key)(jnp.arange(2000)))
    points = np.asarray(points, int)
    assert valid.all()
    assert mask[points[..., 1], points[..., 0]].all()
    codes = points[..., 1] * 11 + points[..., 0]
    assert all(len(set(row)) == 5 for row in codes.tolist())
    share = np.bincount(codes.ravel(), minlength=99).reshape(9, 11)[mask] / 2000
    # Each of the 12 pixels is drawn with probability 5 / 12; 5 standard deviations.
    np.testing.assert_allclose(share, 5 / 12, atol=5 * np.sqrt(5 / 12 * 7 / 12 / 2000))
    again, _ = draw(jax.vmap(jax.random.key)(jnp.arange(2000)))
    np.testing.assert_array_equal(points, again)


def test_random_points_beyond_the_mask_are_invalid():
    mask = jnp.zeros((3, 4), bool).at[1, 2].set(True)
    points, valid = random_points(jax.random.key(0), mask, 20)
    np.testing.assert_array_equal(valid, np.arange(20) < 1)
    np.testing.assert_array_equal(points[0], [2, 1])
    np.testing.assert_array_equal(points[1:], 0)


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.98, 1.0])
def test_foreground_equals_numpy(quantile):
    generator = np.random.default_rng(3)
    rough = generator.random((20, 20)).astype(np.float32)
    inside = np.zeros((20, 20), bool)
    inside[:13, :17] = True
    rough[~inside] = 5.0
    tau = max(0.47, np.quantile(rough[inside], quantile, method="inverted_cdf"))
    found = extreme_foreground(jnp.asarray(rough), jnp.asarray(inside), 0.47, quantile)
    np.testing.assert_array_equal(found, inside & (rough >= tau))
    assert not extreme_foreground(jnp.asarray(rough * 0.09), jnp.asarray(inside), 0.47, 0.98).any()


def numpy_bilinear(grid, y, x):
    y, x = (np.clip(v, 0, s - 1) for v, s in ((y, grid.shape[0]), (x, grid.shape[1])))
    axes = [np.atleast_1d(y), np.atleast_1d(x)]
    return np.stack(
        [
            ndimage.map_coordinates(c, axes, order=1, mode="nearest")
            for c in np.moveaxis(grid, 2, 0)
        ],
        axis=-1,
    )


def numpy_similarity(embedding, points, side):
    """Prototype of the points and its cosine with every pixel of the frame."""
    size = embedding.shape[0]
    features = numpy_bilinear(
        embedding,
        (points[:, 1] + 0.5) * size / side - 0.5,
        (points[:, 0] + 0.5) * size / side - 0.5,
    )
    mean = features.mean(axis=0)
    mean = mean / np.linalg.norm(mean)
    cosine = embedding @ mean / np.linalg.norm(embedding, axis=-1)
    centres = (np.arange(side) + 0.5) * size / side - 0.5
    rows, columns = np.meshgrid(centres, centres, indexing="ij")
    sampled = numpy_bilinear(cosine[..., None], rows.ravel(), columns.ravel())
    return mean, sampled.reshape(side, side)


def test_prototype_and_similarity_equal_numpy():
    generator = np.random.default_rng(4)
    embedding = generator.normal(size=(4, 4, 6))
    points = np.array([[0, 0], [31, 31], [13, 22], [7, 7]], np.float32)
    valid = jnp.array([True, True, True, False])
    mean, expected = numpy_similarity(embedding, points[:3], 32)
    found = prototype(jnp.asarray(embedding, jnp.float32), jnp.asarray(points), valid, 32)
    np.testing.assert_allclose(found, mean, atol=1e-5)
    similar = similarity_map(jnp.asarray(embedding, jnp.float32), found, 32)
    np.testing.assert_allclose(similar, expected, atol=1e-5)
    none = prototype(jnp.asarray(embedding, jnp.float32), jnp.asarray(points), ~valid & False, 32)
    np.testing.assert_array_equal(none, 0)


def ppg_case():
    generator = np.random.default_rng(5)
    rough = ndimage.gaussian_filter(generator.random((48, 48)), 2)
    rough = ((rough - rough.min()) / np.ptp(rough)).astype(np.float32)
    inside = np.zeros((48, 48), bool)
    inside[:40, :48] = True
    rough[~inside] = 0
    embedding = ndimage.gaussian_filter(generator.normal(size=(6, 6, 8)), (1, 1, 0))
    return rough, inside, embedding.astype(np.float32)


@pytest.mark.parametrize(
    "rule",
    [
        "least_similar_in_ring",
        "most_similar_in_ring",
        "lowest_score_in_ring",
        "least_similar_in_image",
        "none",
    ],
)
def test_co_feature_points_equal_numpy(rule):
    config = PointRules(top_k=3, negatives=2, negative_rule=rule, distance=0.06, ring_radius=0.05)
    rough, inside, embedding = ppg_case()

    @jax.jit
    def ours(rough, inside, embedding):
        foreground = extreme_foreground(rough, inside, 0.47, 0.9)
        regions = largest_regions(connected_components(foreground), 4)
        prompts = co_feature_points(rough, foreground, inside, regions, embedding, config)
        return foreground, regions, prompts

    foreground, regions, prompts = ours(*map(jnp.asarray, (rough, inside, embedding)))
    foreground = np.asarray(foreground)
    assert 2 <= int(regions.valid.sum()) <= 4
    np.testing.assert_array_equal(prompts.labels, [[1, 1, 1, 0, 0]] * 4)
    distance, radius = 0.06 * 48, 0.05 * 48
    for slot in range(4):
        mask = np.asarray(regions.masks[slot])
        points, valid = np.asarray(prompts.points[slot]), np.asarray(prompts.valid[slot])
        if not mask.any():
            assert not valid.any()
            continue
        positive = numpy_greedy(rough, mask, 3, distance)
        assert_points((points[:3], valid[:3]), positive, 3)
        _, similar = numpy_similarity(embedding.astype(np.float64), positive, 48)
        ring = (ndimage.distance_transform_edt(~mask) <= radius) & inside & ~foreground
        score, allowed = {
            "least_similar_in_ring": (-similar, ring),
            "most_similar_in_ring": (similar, ring),
            "lowest_score_in_ring": (-rough, ring),
            "least_similar_in_image": (-similar, inside),
            "none": (rough, ring & False),
        }[rule]
        assert_points((points[3:], valid[3:]), numpy_greedy(score, allowed, 2, distance), 2)


def test_stride_rule_is_chosen_by_name():
    rough, inside, embedding = ppg_case()
    config = PointRules(top_k=3, rule="stride", stride=4 / 48**2)
    foreground = jnp.asarray(inside & (rough > 0.6))
    regions = largest_regions(connected_components(foreground), 1)
    prompts = co_feature_points(
        jnp.asarray(rough), foreground, jnp.asarray(inside), regions, jnp.asarray(embedding), config
    )
    expected = strided_points(jnp.asarray(rough), regions.masks[0], 3, 4)
    np.testing.assert_array_equal(prompts.points[0, :3], expected[0])
