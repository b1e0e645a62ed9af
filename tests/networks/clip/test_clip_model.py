"""Sizes, configurations and behaviour of CLIP without PyTorch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zsas_jax.errors import ConfigError
from zsas_jax.networks.clip import PRESETS, Clip, ClipConfig, encode_image, encode_text, patch_grid
from zsas_jax.testing import random_weights

TINY = ClipConfig(
    image_size=32,
    patch_size=8,
    vision_width=32,
    vision_layers=2,
    vision_heads=4,
    context_length=16,
    vocab_size=100,
    text_width=24,
    text_layers=2,
    text_heads=3,
    embed_dim=16,
    end_token_id=99,
)


ENCODE_IMAGE = jax.jit(encode_image, static_argnames="layers")
ENCODE_TEXT = jax.jit(encode_text)


def build(config, seed=0):
    return random_weights(lambda: Clip(config, rngs=nnx.Rngs(0)), seed)


@pytest.fixture(scope="module")
def clip():
    return build(TINY)


def test_shapes_of_features():
    config = ClipConfig.preset("ViT-B-32")
    clip = nnx.eval_shape(lambda: Clip(config, rngs=nnx.Rngs(0)))
    side = 2 * config.image_size - config.patch_size
    layers = tuple(config.vision_layers // 4 * i for i in (1, 2, 3, 4))
    images = jax.ShapeDtypeStruct((2, config.image_size, side, 3), jnp.float32)
    encoding = jax.eval_shape(lambda c, x: encode_image(c, x, layers), clip, images)
    patches = config.grid_size * (2 * config.grid_size - 1)
    assert [x.shape for x in encoding.patch_tokens] == [(2, patches, config.vision_width)] * 4
    assert encoding.class_embedding.shape == (2, config.embed_dim)
    tokens = jax.ShapeDtypeStruct((3, config.context_length), jnp.int32)
    assert jax.eval_shape(encode_text, clip, tokens).shape == (3, config.embed_dim)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("activation", "relu", "quick_gelu"),
        ("text_pooling", "mean", "argmax"),
        ("position_rule", "nearest", "bilinear"),
        ("vision_width", 33, "multiple of the 4 heads"),
        ("text_heads", 5, "multiple of the 5 heads"),
        ("image_size", 30, "multiple of the patch size 8"),
        ("text_layers", 0, "more than 0"),
        ("eps", -1e-5, "more than 0"),
        ("pixel_mean", (0.5,), "R, G, B"),
    ],
)
def test_faulty_config_is_refused(field, value, named):
    with pytest.raises(ConfigError, match=named):
        dataclasses.replace(TINY, **{field: value})


def test_unknown_preset_is_refused():
    with pytest.raises(ConfigError, match="ViT-L-14-336"):
        ClipConfig.preset("ViT-Z")


def test_transformers_config_of_old_and_new_files():
    # What a hub file holds: only what differs from transformers' defaults.
    config = ClipConfig.from_transformers_config(
        {
            "model_type": "clip",
            "projection_dim": 768,
            "text_config": {
                "hidden_size": 768,
                "intermediate_size": 3072,
                "num_attention_heads": 12,
                "eos_token_id": 2,
            },
            "vision_config": {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "image_size": 336,
                "patch_size": 14,
            },
        }
    )
    assert config == PRESETS["ViT-L-14-336"]
    modern = ClipConfig.from_transformers_config({"text_config": {}, "vision_config": {}})
    assert (modern.text_pooling, modern.end_token_id) == ("eot", 49407)
    with pytest.raises(ConfigError, match="siglip"):
        ClipConfig.from_transformers_config({"model_type": "siglip"})
    with pytest.raises(ConfigError, match="swish"):
        ClipConfig.from_transformers_config(
            {"text_config": {"hidden_act": "swish"}, "vision_config": {"hidden_act": "swish"}}
        )
    with pytest.raises(ConfigError, match="one value for both"):
        ClipConfig.from_transformers_config({"text_config": {"hidden_act": "gelu"}})


def test_one_program_serves_other_weights(clip):
    traces = []

    @jax.jit
    def encode(model, pixels):
        traces.append(pixels.shape)
        return encode_image(model, pixels, (2,)).class_embedding

    pixels = jnp.ones((1, 32, 32, 3))
    other = build(TINY, seed=1)
    assert float(jnp.abs(encode(clip, pixels) - encode(other, pixels)).max()) > 1e-3
    assert len(traces) == 1


def test_layers_follow_the_order_asked_for_and_must_exist(clip):
    pixels = jnp.asarray(np.random.default_rng(0).normal(size=(1, 32, 32, 3)), jnp.float32)
    forward, backward = (ENCODE_IMAGE(clip, pixels, order) for order in ((1, 2), (2, 1)))
    np.testing.assert_array_equal(forward.patch_tokens[0], backward.patch_tokens[1])
    assert ENCODE_IMAGE(clip, pixels, ()).patch_tokens == []
    for wrong in ((0,), (1, 4), (-1,)):
        with pytest.raises(ConfigError, match="layers 1 to 2"):
            encode_image(clip, pixels, wrong)


def test_images_smaller_than_a_patch_and_long_sentences_are_refused(clip):
    assert patch_grid(TINY, 39, 64) == (4, 8)
    with pytest.raises(ConfigError, match="7 x 40"):
        encode_image(clip, jnp.zeros((1, 7, 40, 3)), (1,))
    with pytest.raises(ConfigError, match="17 columns"):
        encode_text(clip, jnp.zeros((1, 17), jnp.int32))


def test_position_rule_changes_other_sizes_only(clip):
    bilinear = build(dataclasses.replace(TINY, position_rule="bilinear"))
    random = np.random.default_rng(0)
    for size, same in ((32, True), (48, False)):
        pixels = jnp.asarray(random.normal(size=(1, size, size, 3)), jnp.float32)
        one, two = (ENCODE_IMAGE(c, pixels, ()).class_embedding for c in (clip, bilinear))
        assert bool((one == two).all()) is same


def test_bfloat16_parameters_compute_in_bfloat16_near_float32(clip):
    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), clip)
    pixels = jnp.asarray(np.random.default_rng(0).normal(size=(2, 40, 24, 3)), jnp.float32)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 99, size=(2, 16)), jnp.int32)
    for run in (
        lambda c: ENCODE_IMAGE(c, pixels, (2,)).patch_tokens[0],
        lambda c: ENCODE_TEXT(c, tokens),
    ):
        exact, rough = run(clip), run(narrow)
        assert rough.dtype == jnp.bfloat16
        assert float(jnp.abs(rough - exact).max() / jnp.abs(exact).max()) < 0.05


def test_images_of_a_batch_do_not_influence_each_other(clip):
    pixels = jnp.asarray(np.random.default_rng(0).normal(size=(3, 32, 32, 3)), jnp.float32)
    together = ENCODE_IMAGE(clip, pixels, ()).class_embedding
    alone = ENCODE_IMAGE(clip, pixels[1:2], ()).class_embedding
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)
