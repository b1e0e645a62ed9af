"""The starting points of networks that are trained from nothing."""

import numpy as np
from scipy import ndimage

from zsas_jax.training.initialization import (
    mimetic_attention,
    sinusoidal_positions,
    whitening_kernel,
)


def test_whitened_patches_are_uncorrelated_with_equal_power():
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(40, 64, 64, 3)), (0, 4, 4, 0))
    noise = 600 * smooth + 10 * rng.normal(size=(40, 64, 64, 3))
    images = np.clip(noise + 128, 0, 255).astype(np.uint8)
    mean, std = [120.0, 116.0, 104.0], [68.0, 66.0, 70.0]
    kernel = whitening_kernel(images, 4, 16, mean, std, np.random.default_rng(1))
    patches = images.reshape(40, 16, 4, 16, 4, 3).swapaxes(2, 3).reshape(-1, 48)
    pixels = (patches - np.tile(mean, 16)) / np.tile(std, 16)
    outputs = pixels @ kernel.reshape(48, 16)
    power = outputs.T @ outputs / len(outputs)
    raw = pixels.T @ pixels / len(pixels)
    assert np.linalg.cond(raw) > 50
    assert np.linalg.cond(power) < 8


def test_near_positions_have_near_embeddings():
    positions = sinusoidal_positions(12, 32).reshape(-1, 32)
    likeness = positions @ positions.T
    rows, columns = np.divmod(np.arange(144), 12)
    distance = np.hypot(*(np.subtract.outer(x, x) for x in (rows, columns)))
    assert likeness[distance == 1].mean() > likeness[distance == 2].mean()
    assert likeness[distance == 2].mean() > likeness[distance > 6].mean()
    assert (likeness.argmax(1) == np.arange(144)).all()


def test_attention_starts_as_the_difference_from_what_is_alike():
    width, heads = 32, 2
    qkv, output = mimetic_attention(width, heads, np.random.default_rng(0))
    size = width // heads
    for head in range(heads):
        query, key = (qkv[:, i * width + head * size :][:, :size] for i in (0, 1))
        product = query @ key.T
        assert np.trace(product) / np.abs(product).sum() > 0.1
    product = qkv[:, 2 * width :] @ output
    assert np.trace(product) / width < -0.3
    assert np.abs(product - np.diag(np.diag(product))).mean() < 0.1
