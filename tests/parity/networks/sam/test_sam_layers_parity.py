"""Every kind of layer of SAM equals transformers' to 1e-5 of its largest value."""

import jax.numpy as jnp
import numpy as np
import pytest
import sam_reference as reference
import torch
from flax import nnx

from zsas_jax.networks.sam import image_encoder

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def theirs():
    return reference.torch_sam()


@pytest.fixture(scope="module")
def ours(theirs):
    return reference.converted(theirs)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def call(layer, *arrays):
    return layer(*map(jnp.asarray, arrays))


def close(ours, theirs, tolerance=TOLERANCE):
    if isinstance(theirs, torch.Tensor):
        theirs = theirs.detach().numpy()
    assert reference.relative_difference(ours, theirs) < tolerance


def channels_first(array):
    return torch.from_numpy(np.moveaxis(array, -1, 1).copy())


def channels_last(tensor):
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


def test_patch_embedding(ours, theirs):
    image = reference.pixels()
    close(
        call(ours.image_encoder.patch_embed, image),
        theirs.vision_encoder.patch_embed(channels_first(image)),
    )


@pytest.mark.parametrize("grid", [(6, 6), (5, 7), (8, 4)], ids=str)
@pytest.mark.parametrize("index", [0, 1], ids=["windowed", "global"])
def test_encoder_block(ours, theirs, index, grid):
    # (5, 7): window padding of two sizes, and resampled relative positions in the global block.
    x = noise(2, *grid, 48)
    with torch.no_grad():
        expected = theirs.vision_encoder.layers[index](torch.from_numpy(x))
    close(call(ours.image_encoder.blocks[index], x), expected)


def test_encoder_attention(ours, theirs):
    x = noise(3, 6, 6, 48)
    expected, _ = theirs.vision_encoder.layers[1].attn(torch.from_numpy(x))
    close(call(ours.image_encoder.blocks[1].attn, x), expected)


def test_relative_positions_matter(ours):
    # The parity above is blind if the tables do not contribute.
    attention = nnx.clone(ours.image_encoder.blocks[1].attn)
    x = jnp.asarray(noise(1, 6, 6, 48))
    before = attention(x)
    attention.rel_pos_w[...] = jnp.zeros_like(attention.rel_pos_w[...])
    assert reference.relative_difference(attention(x), before) > 0.05


def test_neck(ours, theirs):
    x = noise(2, 5, 7, 48)
    y = jnp.asarray(x)
    for layer in ours.image_encoder.neck:
        y = layer(y)
    close(y, channels_last(theirs.vision_encoder.neck(torch.from_numpy(x))))


@pytest.mark.parametrize("size", [4, 6, 7, 19])
def test_relative_positions_equal_transformers(ours, theirs, size):
    attention = theirs.vision_encoder.layers[1].attn
    expected = attention.get_rel_pos(size, size, attention.rel_pos_h)
    table = ours.image_encoder.blocks[1].attn.rel_pos_h[...]
    close(image_encoder.fit_table(table, size)[image_encoder.relative_index(size)], expected)


def test_position_encoding(ours, theirs):
    encoder = ours.prompt_encoder.pe_layer
    xy = np.random.default_rng(0).uniform(size=(2, 3, 4, 2)).astype(np.float32)
    close(call(encoder, xy), theirs.shared_image_embedding(torch.from_numpy(xy)))
    grid = theirs.get_image_wide_positional_embeddings()[0].permute(1, 2, 0)
    close(encoder.grid(6, 6), grid)


def test_point_embedding_of_every_label(ours, theirs):
    prompt = reference.prompts(points=4)
    labels = np.broadcast_to(np.array([1, 0, -1, 1], np.int32), (2, 3, 4))
    clicks = tuple(map(jnp.asarray, (prompt["points"], labels, np.ones(labels.shape, bool))))
    tokens, valid = ours.prompt_encoder(clicks, None, (6, 6))
    expected = theirs.prompt_encoder._embed_points(
        torch.from_numpy(prompt["points"]), torch.from_numpy(labels.copy()), pad=True
    )
    close(tokens, expected)
    assert tokens.shape[2] == 5  # SAM's own padding point
    assert bool(valid.all())


def test_box_embedding(ours, theirs):
    boxes = reference.prompts()["boxes"]
    tokens, _ = ours.prompt_encoder(None, jnp.asarray(boxes), (6, 6))
    close(tokens, theirs.prompt_encoder._embed_boxes(torch.from_numpy(boxes)))


def test_mask_embedding(ours, theirs):
    masks = reference.prompts(regions=1)["masks"]
    expected = theirs.prompt_encoder.mask_embed(torch.from_numpy(masks))
    close(call(ours.prompt_encoder.embed_masks, masks)[:, 0], channels_last(expected))


@pytest.mark.parametrize("name", ["self_attn", "cross_attn_token_to_image"])
def test_decoder_attention(ours, theirs, name):
    query, key, value = (noise(2, 3, n, 32, seed=n) for n in (5, 7, 7))
    ours, theirs = (model.mask_decoder.transformer.layers[1] for model in (ours, theirs))
    expected, _ = getattr(theirs, name)(*map(torch.from_numpy, (query, key, value)))
    close(call(getattr(ours, name), query, key, value), expected)


def test_decoder_attention_shares_one_side(ours):
    attention = ours.mask_decoder.transformer.layers[1].cross_attn_token_to_image
    many, one = noise(2, 3, 5, 32), noise(2, 1, 7, 32, seed=1)
    copied = np.broadcast_to(one, (2, 3, 7, 32))
    close(call(attention, many, one, one), call(attention, many, copied, copied))
    close(call(attention, one, many, many), call(attention, copied, many, many))


@pytest.mark.parametrize("index", [0, 1], ids=["first", "second"])
def test_two_way_block(ours, theirs, index):
    queries, pe = noise(2, 3, 5, 32), noise(2, 3, 5, 32, seed=1)
    keys, key_pe = noise(2, 3, 36, 32, seed=2), noise(36, 32, seed=3)
    block = ours.mask_decoder.transformer.layers[index]
    expected = theirs.mask_decoder.transformer.layers[index](
        *map(torch.from_numpy, (queries, keys, pe, key_pe[None, None])), attention_similarity=None
    )
    for mine, their in zip(call(block, queries, keys, pe, key_pe), expected[:2], strict=True):
        close(mine, their)


def test_heads(ours, theirs):
    x = noise(2, 3, 32)
    ours, theirs = ours.mask_decoder, theirs.mask_decoder
    close(call(ours.iou_prediction_head, x), theirs.iou_prediction_head(torch.from_numpy(x)))
    for mine, their in zip(
        ours.output_hypernetworks_mlps, theirs.output_hypernetworks_mlps, strict=True
    ):
        close(call(mine, x), their(torch.from_numpy(x)))


def test_upscaling(ours, theirs):
    x = noise(2, 5, 7, 32)
    y = jnp.asarray(x)
    for layer in ours.mask_decoder.output_upscaling:
        y = layer(y)
    decoder = theirs.mask_decoder
    expected = decoder.activation(
        decoder.upscale_layer_norm(decoder.upscale_conv1(channels_first(x)))
    )
    expected = decoder.activation(decoder.upscale_conv2(expected))
    close(y, channels_last(expected))
