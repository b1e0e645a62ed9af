"""SAM as a pytree: gradients, jit, dtypes and inputs of other sizes, without torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zsas_jax.errors import ConfigError
from zsas_jax.networks import sam as zsam
from zsas_jax.ops.layers import Buffer
from zsas_jax.testing import random_weights

CONFIG = zsam.SamConfig(
    image_size=64,
    patch_size=8,
    width=32,
    depth=2,
    heads=2,
    window_size=3,
    global_attn_indexes=(1,),
    out_chans=32,
    decoder_heads=4,
    decoder_mlp_dim=48,
    iou_head_hidden=24,
)

encode = jax.jit(zsam.encode_image)
decode = jax.jit(zsam.decode_masks, static_argnames="multimask")


@pytest.fixture(scope="module")
def sam():
    return random_weights(lambda: zsam.Sam(CONFIG, rngs=nnx.Rngs(0)), scale=0.2)


@pytest.fixture(scope="module")
def batch():
    keys = jax.random.split(jax.random.key(0), 4)
    points = 64 * jax.random.uniform(keys[1], (2, 3, 4, 2))
    return {
        "pixels": jax.random.normal(keys[0], (2, 64, 64, 3)),
        "points": points,
        "labels": jnp.broadcast_to(jnp.array([1, 0, 1, 0]), (2, 3, 4)),
        "valid": jnp.broadcast_to(jnp.array([True, True, True, False]), (2, 3, 4)),
        "boxes": jnp.concatenate([points[:, :, 0] / 2, 32 + points[:, :, 1] / 2], axis=-1),
        "masks": jax.random.normal(keys[2], (2, 3, 32, 32)),
    }


def test_gradients(sam, batch):
    graph, parameters, rest = nnx.split(sam, nnx.Param, ...)
    labels = jnp.broadcast_to(jnp.array([1, 0, -1, 0]), (2, 3, 4))
    prompt = (labels, batch["valid"], batch["boxes"], batch["masks"])

    def loss(parameters, points):
        model = nnx.merge(graph, parameters, rest)
        embedding = zsam.encode_image(model, batch["pixels"])
        logits, iou = zsam.decode_masks(model, embedding, points, *prompt, multimask=None)
        return jnp.sum(jnp.square(logits)) + jnp.sum(jnp.square(iou))

    points = batch["points"].at[:, :, 3].set(jnp.nan)  # invalid
    gradients, for_points = jax.jit(jax.grad(loss, argnums=(0, 1)))(parameters, points)
    moving = np.abs(for_points).max(-1) > 0
    np.testing.assert_array_equal(moving[0, 0], [True, True, False, False])  # -1 has no place
    flat = nnx.to_flat_state(gradients)
    assert not [path for path, _ in flat if "positional_encoding_gaussian_matrix" in path]
    assert len(jax.tree.leaves(nnx.state(sam, Buffer))) == 1
    assert len(flat) == len(jax.tree.leaves(sam)) - 1
    for path, gradient in flat:
        largest = np.abs(gradient.get_value()).max()
        assert np.isfinite(largest), path
        if "no_mask_embed" in path:
            assert largest == 0  # masks are given
        # A key's bias shifts all logits of a query alike: softmax ignores it.
        elif path[-2:] != ("k_proj", "bias"):
            assert largest > 0, path


def test_one_program_for_all_prompts_of_a_shape(sam, batch):
    traced = []

    @jax.jit
    def run(*arguments):
        traced.append(arguments)
        return zsam.decode_masks(*arguments)

    embedding = encode(sam, batch["pixels"])
    first = run(sam, embedding, batch["points"], batch["labels"], batch["valid"])
    second = run(sam, 2 * embedding, batch["points"] / 2, batch["labels"], ~batch["valid"])
    assert len(traced) == 1
    assert first.logits.shape == (2, 3, 3, 32, 32)
    assert first.iou.shape == (2, 3, 3)
    assert not np.allclose(first.logits, second.logits)


def test_regions_do_not_see_each_other(sam, batch):
    embedding = encode(sam, batch["pixels"])
    whole = decode(sam, embedding, batch["points"], batch["labels"], batch["valid"])
    one = (slice(1, 2), slice(2, 3))
    alone = decode(
        sam, embedding[1:2], *(batch[name][one] for name in ("points", "labels", "valid"))
    )
    np.testing.assert_allclose(alone.logits, whole.logits[one], atol=1e-4)
    np.testing.assert_allclose(alone.iou, whole.iou[one], atol=1e-4)


def test_only_invalid_points_are_the_padding_point_alone(sam, batch):
    embedding = encode(sam, batch["pixels"])
    points, labels = jnp.zeros((2, 3, 0, 2)), jnp.zeros((2, 3, 0), int)
    none = decode(sam, embedding, points, labels, jnp.zeros((2, 3, 0), bool))
    nowhere = jnp.zeros((2, 3, 4), bool)
    invalid = decode(sam, embedding, batch["points"], batch["labels"], nowhere)
    np.testing.assert_allclose(invalid.logits, none.logits, atol=1e-4)
    np.testing.assert_allclose(invalid.iou, none.iou, atol=1e-4)


@pytest.mark.parametrize("size", [(40, 72)], ids=str)
def test_inputs_of_other_sizes(sam, size):
    pixels = jax.random.normal(jax.random.key(1), (1, *size, 3))
    embedding = encode(sam, pixels)
    assert embedding.shape == (1, size[0] // 8, size[1] // 8, 32)
    masks = decode(sam, embedding, jnp.ones((1, 2, 1, 2)), jnp.ones((1, 2, 1), int))
    assert masks.logits.shape == (1, 2, 3, size[0] // 2, size[1] // 2)


def test_size_off_the_patch_grid_is_refused(sam):
    with pytest.raises(ValueError, match="60 x 64 pixels: expected sides that are multiples of 8"):
        zsam.encode_image(sam, jnp.zeros((1, 60, 64, 3)))


def test_points_without_labels_are_refused(sam, batch):
    with pytest.raises(ValueError, match="need point_labels"):
        zsam.decode_masks(sam, jnp.zeros((2, 8, 8, 32)), batch["points"])


def test_bfloat16_parameters(sam, batch):
    graph, parameters, rest = nnx.split(sam, nnx.Param, ...)
    low = nnx.merge(graph, jax.tree.map(lambda x: x.astype(jnp.bfloat16), parameters), rest)
    prompt = (batch["points"], batch["labels"], batch["valid"], None, batch["masks"])
    outputs = []
    for model in (sam, low):
        embedding = encode(model, batch["pixels"])
        outputs.append((embedding, *decode(model, embedding, *prompt)))
    for exact, rounded in zip(*outputs, strict=True):
        assert rounded.dtype == jnp.bfloat16
        scale = np.abs(exact).max()
        assert np.abs(np.asarray(rounded, np.float32) - exact).max() < 0.1 * scale


def test_a_resized_sam_keeps_its_network_and_stretches_its_positions(sam, batch):
    same = zsam.resized(sam, CONFIG.image_size)
    for before, after in zip(jax.tree.leaves(sam), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(before, after)
    larger = zsam.resized(sam, 96)
    assert larger.config.image_size == 96
    encoder = larger.image_encoder
    assert encoder.pos_embed.shape == (1, 12, 12, 32)
    assert encoder.blocks[1].attn.rel_pos_h.shape == (23, 16)  # global
    assert encoder.blocks[0].attn.rel_pos_h.shape == (5, 16)  # windows stay as they are
    # The encoder resamples the same positions for an input of that size.
    pixels = jax.image.resize(batch["pixels"], (2, 96, 96, 3), "linear")
    np.testing.assert_allclose(encode(larger, pixels), encode(sam, pixels), atol=1e-4)
    with pytest.raises(ConfigError, match="multiple of patch_size"):
        zsam.resized(sam, 100)
