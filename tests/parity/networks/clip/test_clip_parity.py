"""Both towers against transformers' CLIPModel, layer by layer and whole."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from clip_reference import (
    ENCODE_IMAGE,
    ENCODE_TEXT,
    TOKENS,
    build,
    converted,
    images,
    relative,
)

from zsas_jax.networks.clip import project_patches

# 4x4 patches in training; here square, wider, higher, and with pixels beyond the last patch.
SIZES = [(32, 32), (24, 56), (48, 40), (37, 59)]


@pytest.fixture(scope="module", params=["quick_gelu", "gelu"])
def pair(request):
    model = build(activation=request.param)
    return model, converted(model)


def channels_last(tensor):
    return tensor.permute(0, 2, 3, 1)


@torch.no_grad()
def test_every_layer_type(pair):
    model, clip = pair
    theirs, ours = model.vision_model, clip.visual
    pixels, tensor = images(24, 56)
    patches = ours.conv1(jnp.asarray(pixels))
    assert relative(patches, channels_last(theirs.embeddings.patch_embedding(tensor))) < 1e-5

    x = np.random.default_rng(5).normal(size=(2, 9, 48)).astype(np.float32)
    x, tensor = jnp.asarray(x), torch.tensor(x)
    assert relative(ours.ln_pre(x), theirs.pre_layrnorm(tensor)) < 1e-5
    assert relative(ours.ln_post(x), theirs.post_layernorm(tensor)) < 1e-5
    projected = model.visual_projection(theirs.post_layernorm(tensor))
    assert relative(project_patches(clip, x), projected) < 1e-5
    for block, layer in zip(ours.transformer.resblocks, theirs.encoder.layers, strict=True):
        assert relative(block.attn(x), layer.self_attn(tensor)[0]) < 1e-5
        assert relative(block.mlp(x), layer.mlp(tensor)) < 1e-5
        assert relative(block(x), layer(tensor, attention_mask=None)) < 1e-5

    ours, theirs = clip.transformer, model.text_model
    x = np.random.default_rng(6).normal(size=(2, 13, 36)).astype(np.float32)
    x, tensor = jnp.asarray(x), torch.tensor(x)
    causal = np.tril(np.ones((13, 13), bool))
    additive = torch.zeros(1, 1, 13, 13).masked_fill(~torch.tensor(causal), -torch.inf)
    for block, layer in zip(ours.resblocks, theirs.encoder.layers, strict=True):
        attended = layer.self_attn(tensor, attention_mask=additive)[0]
        assert relative(block.attn(x, jnp.asarray(causal)), attended) < 1e-5
    assert relative(clip.ln_final(x), theirs.final_layer_norm(tensor)) < 1e-5
    np.testing.assert_allclose(clip.logit_scale[...], model.logit_scale.item(), rtol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_whole_image_tower(pair, size):
    model, clip = pair
    if clip.config.activation == "gelu" and size != (24, 56):
        pytest.skip("one size is enough for the second activation")
    pixels, tensor = images(*size)
    theirs = model.vision_model(tensor, output_hidden_states=True, interpolate_pos_encoding=True)
    layers = (1, 3, 4)
    ours = ENCODE_IMAGE(clip, pixels, layers=layers)
    for layer, tokens in zip(layers, ours.patch_tokens, strict=True):
        assert relative(tokens, theirs.hidden_states[layer][:, 1:]) < 1e-4
    assert relative(ours.class_embedding, model.visual_projection(theirs.pooler_output)) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("eos_token_id", [2, 98])
def test_whole_text_tower_with_both_pooling_rules(eos_token_id):
    model = build(eos_token_id=eos_token_id, seed=7)
    clip = converted(model)
    assert clip.config.text_pooling == ("argmax" if eos_token_id == 2 else "eot")
    theirs = model.text_projection(model.text_model(torch.tensor(TOKENS)).pooler_output)
    assert relative(ENCODE_TEXT(clip, jnp.asarray(TOKENS)), theirs) < 1e-4
    # Causal: without the columns after the end token the result is the same.
    short = ENCODE_TEXT(clip, jnp.asarray(TOKENS[:2, :5]))
    assert relative(short, theirs[:2]) < 1e-4


@torch.no_grad()
def test_pooling_rules_differ_where_the_end_token_is_not_the_highest_id():
    model = build(eos_token_id=50, seed=8)
    tokens = np.array([[1, 70, 3, 50, 0, 0, 50, 0, 0, 0, 0, 0, 0]], np.int32)
    theirs = model.text_projection(model.text_model(torch.tensor(tokens)).pooler_output)
    assert relative(ENCODE_TEXT(converted(model), jnp.asarray(tokens)), theirs) < 1e-4
    model.config.text_config.eos_token_id = 2
    wrong = ENCODE_TEXT(converted(model), jnp.asarray(tokens))
    assert relative(wrong, theirs) > 0.1
