"""Resampled position embeddings equal torch's interpolate."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

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
