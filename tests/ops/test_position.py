"""Resampling of position embeddings against torch's interpolate."""

import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.errors import ConfigError
from zsas_jax.ops.position import POSITION_RULES, resample_positions, resampling_matrix

# Not down to one column: there torch 2.13 antialiases contiguous grids wrongly.
SIZES = [
    ((24, 24), (37, 37)),
    ((7, 7), (5, 11)),
    ((14, 14), (3, 29)),
    ((4, 6), (6, 4)),
    ((2, 2), (9, 3)),
]


@pytest.mark.parametrize("rule", POSITION_RULES)
@pytest.mark.parametrize(("before", "after"), SIZES)
def test_matches_torch(rule, before, after):
    torch = pytest.importorskip("torch")
    grid = np.random.default_rng(0).normal(size=(*before, 8))
    theirs = torch.nn.functional.interpolate(
        torch.tensor(grid).permute(2, 0, 1)[None],
        size=after,
        mode=rule.removesuffix("_antialias"),
        antialias=rule.endswith("antialias"),
        align_corners=False,
    )[0]
    theirs = theirs.permute(1, 2, 0).numpy()
    rows, columns = (resampling_matrix(a, b, rule) for a, b in zip(before, after, strict=True))
    ours = np.einsum("Hh,hwc,Ww->HWc", rows, grid, columns)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    single = resample_positions(jnp.asarray(grid, jnp.float32), *after, rule)
    np.testing.assert_allclose(single, theirs, atol=3e-6)


@pytest.mark.parametrize("rule", POSITION_RULES)
def test_rows_sum_to_one_and_same_size_changes_nothing(rule):
    np.testing.assert_allclose(resampling_matrix(9, 14, rule).sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(resampling_matrix(9, 9, rule), np.eye(9), atol=1e-12)
    grid = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 2)), jnp.bfloat16)
    assert resample_positions(grid, 3, 4, rule) is grid
    assert resample_positions(grid, 5, 5, rule).dtype == jnp.bfloat16


def test_unknown_rule_is_refused():
    with pytest.raises(ConfigError, match="lanczos"):
        resampling_matrix(3, 4, "lanczos")
