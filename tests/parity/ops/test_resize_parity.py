"""Bilinear resampling of maps equals PyTorch's, with traced sizes on padded canvases."""

import functools

import hypothesis
import jax
import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from zsas_jax.ops import resize

CANVAS = 64
OUT = 48
side = st.integers(1, CANVAS)
out_side = st.integers(1, OUT)


@functools.partial(jax.jit, static_argnums=3)
def _bilinear(maps, in_size, out_size, align_corners):
    return resize.resize_bilinear(maps, in_size, out_size, (OUT, OUT), align_corners)


@pytest.mark.parametrize("align_corners", [False, True])
@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.tuples(side, side), st.tuples(out_side, out_side))
@hypothesis.example((1, 1), (OUT, OUT))
@hypothesis.example((CANVAS, 2), (1, OUT))
def test_bilinear_equals_torch(align_corners, size, out_size):
    maps = np.random.default_rng(0).normal(size=(2, CANVAS, CANVAS)).astype(np.float32)
    result = np.asarray(_bilinear(maps, np.array(size), np.array(out_size), align_corners))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps[None, :, : size[0], : size[1]].astype(np.float64)),
        size=out_size,
        mode="bilinear",
        align_corners=align_corners,
    )[0].numpy()
    np.testing.assert_allclose(result[:, : out_size[0], : out_size[1]], expected, atol=2e-6)
    assert (result[:, out_size[0] :] == 0).all()
    assert (result[:, :, out_size[1] :] == 0).all()
