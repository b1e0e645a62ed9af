"""Masks are scaled up as Meta's code does with torch."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from zsas_jax.networks.sam import frame_size, upscale_logits


@pytest.mark.parametrize("original", [(333, 500), (40, 17), (96, 96), (1, 300)], ids=str)
def test_upscaled_logits_equal_torch(original):
    resize = torch.nn.functional.interpolate
    logits = np.random.default_rng(0).normal(size=(2, 3, 24, 24)).astype(np.float32)
    frame = frame_size(*original, 96)
    expected = resize(torch.from_numpy(logits), size=(96, 96), mode="bilinear")
    expected = resize(expected[..., : frame[0], : frame[1]], size=original, mode="bilinear")
    result = upscale_logits(jnp.asarray(logits), frame, original, 96)
    np.testing.assert_allclose(result, expected, atol=1e-5)
