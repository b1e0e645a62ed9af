"""The starting points of networks that are trained from nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_world
from flax import nnx
from scipy import ndimage
from small_world import CLIP

from zsas_jax.errors import ConfigError
from zsas_jax.networks import clip as clip_network
from zsas_jax.networks.clip import Clip
from zsas_jax.networks.sam import Sam, normalize_pixels
from zsas_jax.parts.views import normalize_levels
from zsas_jax.tasks.initialization import (
    align_positions,
    mimetic_attention,
    sinusoidal_positions,
    transfer_image_tower,
    whitening_kernel,
)
from zsas_jax.testing import random_weights

SAM = dataclasses.replace(
    small_world.SAM,
    patch_size=CLIP.patch_size,
    width=CLIP.vision_width,
    depth=CLIP.vision_layers,
    heads=CLIP.vision_heads,
    global_attn_indexes=tuple(range(CLIP.vision_layers)),
    out_chans=64,
    decoder_heads=2,
    decoder_downsample=1,
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


def test_a_transferred_image_tower_gives_nearly_the_same_tokens():
    """What differs: the class token, the norm before the blocks, and the kind of GELU."""
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    config = dataclasses.replace(CLIP, image_size=64, activation="gelu")
    clip = random_weights(lambda: Clip(config, rngs=nnx.Rngs(0)), 0)
    sam = random_weights(lambda: Sam(SAM, rngs=nnx.Rngs(0)), 1)
    for block in sam.image_encoder.blocks:  # zero in a fresh SAM
        for table in (block.attn.rel_pos_h, block.attn.rel_pos_w):
            table[...] = jnp.zeros_like(table[...])
    transfer_image_tower(sam, clip, images)

    seen = normalize_levels(jnp.asarray(images), config)
    expected = clip_network.encode_image(clip, seen, (config.vision_layers,)).patch_tokens[0]
    encoder = sam.image_encoder
    tokens = encoder.patch_embed(normalize_pixels(jnp.asarray(images, jnp.float32), SAM))
    tokens = tokens + encoder.pos_embed[...]
    for block in encoder.blocks:
        tokens = block(tokens)
    found, expected = np.asarray(tokens).reshape(4, 64, -1), np.asarray(expected)
    centred = [x - x.mean((0, 1)) for x in (found, expected)]
    likeness = (centred[0] * centred[1]).sum() / np.prod([np.linalg.norm(x) for x in centred])
    assert likeness > 0.9


def test_a_tower_of_other_sizes_cannot_be_transferred():
    clip = random_weights(lambda: Clip(CLIP, rngs=nnx.Rngs(0)), 0)
    wide = dataclasses.replace(SAM, width=2 * SAM.width)
    sam = random_weights(lambda: Sam(wide, rngs=nnx.Rngs(0)), 1)
    with pytest.raises(ConfigError, match="width 32: expected 16"):
        transfer_image_tower(sam, clip, np.zeros((1, 64, 64, 3), np.uint8))


def test_a_fresh_click_looks_at_its_place():
    sam = random_weights(lambda: Sam(SAM, rngs=nnx.Rngs(0)), scale=0.1)
    align_positions(sam, 0)
    encoder, attention = sam.prompt_encoder, sam.mask_decoder.transformer.layers[0]
    attention = attention.cross_attn_token_to_image
    grid = SAM.grid_size
    keys = attention.k_proj(encoder.pe_layer.grid(grid, grid).reshape(grid * grid, -1))
    for row, column in ((1, 6), (4, 3)):
        click = (jnp.array([column, row]) + 0.5) / grid
        query = attention.q_proj(encoder.pe_layer(click)) - attention.q_proj.bias[...]
        weights = jax.nn.softmax(query @ keys.T / (keys.shape[1] / attention.heads) ** 0.5)
        assert int(weights.argmax()) == row * grid + column
        assert float(weights.max()) > 0.2
