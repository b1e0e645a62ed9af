import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.ops.ranking import kth_smallest, masked_quantile, top_fraction_mean

quantile = jax.jit(masked_quantile, static_argnums=2)
top_mean = jax.jit(top_fraction_mean, static_argnums=2)
kth = jax.jit(kth_smallest)


def case(levels, seed=0, count=400):
    generator = np.random.default_rng(seed)
    values = (generator.integers(0, levels, count) / levels).astype(np.float32)
    return values, generator.random(count) < 0.6


@pytest.mark.parametrize("levels", [1, 2, 7, 2**22])
def test_quantile_equals_numpy_inverted_cdf(levels):
    values, mask = case(levels)
    for fraction in (0.0, 0.3, 0.98, 1.0):
        expected = np.quantile(values[mask], fraction, method="inverted_cdf")
        assert quantile(jnp.asarray(values), jnp.asarray(mask), fraction) == expected


def test_every_rank():
    values, mask = case(2**22, count=30)
    expected = np.sort(values[mask])
    found = [kth(jnp.asarray(values), jnp.asarray(mask), k + 1) for k in range(mask.sum())]
    np.testing.assert_array_equal(np.array(found), expected)
    assert kth(jnp.asarray(values), jnp.asarray(mask), int(mask.sum()) + 1) == np.inf


@pytest.mark.parametrize("levels", [1, 3, 2**22])
@pytest.mark.parametrize("fraction", [0.0, 0.005, 0.77, 1.0])
def test_top_fraction_mean_equals_numpy(levels, fraction):
    values, mask = case(levels, seed=1)
    top = max(1, int(np.ceil(round(mask.sum() * fraction, 6))))
    expected = np.sort(values[mask].astype(np.float64))[-top:].mean()
    found = top_mean(jnp.asarray(values), jnp.asarray(mask), fraction)
    assert abs(float(found) - expected) < 1e-6


def test_nothing_masked_gives_zero():
    values = jnp.ones(5)
    assert top_mean(values, jnp.zeros(5, bool), 0.5) == 0
