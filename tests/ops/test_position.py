"""Resampling of position embeddings."""

import jax.numpy as jnp
import numpy as np
import pytest

from zsas_jax.errors import ConfigError
from zsas_jax.ops.position import POSITION_RULES, resample_positions, resampling_matrix


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
