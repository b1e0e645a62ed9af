"""The guided filter against its definition, window by window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.ops.guided import guided_coefficients

filtered = jax.jit(guided_coefficients, static_argnums=(2, 3))


def by_windows(guide, target, radius, epsilon):
    """Ridge regression of the map on the colours in every window, then means over windows."""
    height, width = target.shape

    def window(y, x):
        return np.s_[
            max(y - radius[0], 0) : y + radius[0] + 1, max(x - radius[1], 0) : x + radius[1] + 1
        ]

    lines = np.zeros((height, width, 4))
    for y in range(height):
        for x in range(width):
            colours = guide[window(y, x)].reshape(-1, 3).astype(np.float64)
            levels = target[window(y, x)].ravel().astype(np.float64)
            covariance = np.cov(colours.T, bias=True) + epsilon * np.eye(3)
            joint = ((colours - colours.mean(0)) * (levels - levels.mean())[:, None]).mean(0)
            slope = np.linalg.solve(covariance, joint)
            lines[y, x] = *slope, levels.mean() - slope @ colours.mean(0)
    means = [lines[window(y, x)].mean((0, 1)) for y in range(height) for x in range(width)]
    return np.reshape(means, lines.shape)


@pytest.mark.parametrize("radius", [(1, 1), (2, 3)])
def test_equals_the_definition(radius):
    rng = np.random.default_rng(0)
    guide = rng.random((9, 12, 3), np.float32)
    target = rng.random((9, 12), np.float32)
    found = filtered(guide, target, radius, 1e-3)
    np.testing.assert_allclose(found, by_windows(guide, target, radius, 1e-3), atol=1e-4)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
def test_grey_photos_lose_no_digits(epsilon):
    """Their covariances have rank 1 but for epsilon."""
    rng = np.random.default_rng(2)
    grey = np.repeat(rng.integers(0, 2, (9, 12, 1)), 3, axis=2).astype(np.float32)
    target = rng.random((9, 12), np.float32)
    lines = np.asarray(filtered(grey, target, (2, 2), epsilon))
    expected = by_windows(grey, target, (2, 2), epsilon)
    found, expected = ((each[..., :3] * grey).sum(-1) + each[..., 3] for each in (lines, expected))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_map_of_one_level_stays_and_a_grey_photo_is_no_trouble():
    rng = np.random.default_rng(1)
    grey = np.repeat(rng.random((8, 8, 1), np.float32), 3, axis=2)
    found = filtered(grey, jnp.full((8, 8), 0.7), (2, 2), 1e-3)
    np.testing.assert_allclose(found[..., :3], 0, atol=1e-5)
    np.testing.assert_allclose(found[..., 3], 0.7, atol=1e-5)
    plain = filtered(jnp.full((8, 8, 3), 0.9), grey[..., 0], (2, 2), 1e-4)
    assert np.isfinite(plain).all()


def test_a_blurred_edge_moves_to_that_of_the_photo():
    guide = np.zeros((20, 20, 3), np.float32)
    guide[:, 10:] = (0.8, 0.2, 0.4)
    target = np.broadcast_to(1 / (1 + np.exp(-(np.arange(20) - 9.5) / 2)), (20, 20))
    lines = np.asarray(filtered(guide, target.astype(np.float32), (3, 3), 1e-3))
    sharp = (lines[..., :3] * guide).sum(-1) + lines[..., 3]
    step = sharp[:, 10] - sharp[:, 9]
    assert (step > 2 * (target[:, 10] - target[:, 9])).all()
