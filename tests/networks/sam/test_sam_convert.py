"""Conversion is strict, names are Meta's, and the presets have the published sizes."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zsas_jax.config import from_dict, to_dict
from zsas_jax.convert.rules import check_manifest, native_names
from zsas_jax.errors import ConfigError, WeightConversionError
from zsas_jax.networks.sam import Sam, SamConfig
from zsas_jax.networks.sam.convert import TRANSFORMERS_IGNORED, transformers_rules
from zsas_jax.ops.layers import Buffer

PRESETS = {
    "vit_b": (SamConfig.vit_b(), 93_735_728),
    "vit_l": (SamConfig.vit_l(), 312_343_088),
    "vit_h": (SamConfig.vit_h(), 641_090_864),
}


@functools.cache
def abstract(config):
    return nnx.eval_shape(lambda: Sam(config, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("name", PRESETS)
def test_preset_sizes(name):
    config, count = PRESETS[name]
    sizes = [leaf.size for leaf in jax.tree.leaves(abstract(config))]
    assert sum(sizes) == count  # the Gaussian matrix (2 x 128) included


@pytest.mark.parametrize("name", PRESETS)
def test_transformers_manifest_of_preset(name):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    ours, _ = PRESETS[name]
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": ours.width,
            "num_hidden_layers": ours.depth,
            "num_attention_heads": ours.heads,
            "global_attn_indexes": list(ours.global_attn_indexes),
        }
    )
    assert SamConfig.from_transformers_config(config.to_dict()) == ours
    # What a config.json holds: JSON, and only what differs from the defaults.
    assert SamConfig.from_transformers_config(json.loads(config.to_json_string())) == ours
    with torch.device("meta"):
        theirs = transformers.SamModel(config)
    shapes = {key: tuple(tensor.shape) for key, tensor in theirs.state_dict().items()}
    check_manifest(abstract(ours), shapes, transformers_rules(ours), TRANSFORMERS_IGNORED)


def meta_names(config: SamConfig) -> set[str]:
    """The names in Meta's checkpoints, written down from its modules."""

    def both(*names):
        return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}

    names = {"image_encoder.pos_embed"} | both("image_encoder.patch_embed.proj")
    for index in range(config.depth):
        block = f"image_encoder.blocks.{index}"
        layers = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.lin1", "mlp.lin2")
        names |= both(*(f"{block}.{layer}" for layer in layers))
        names |= {f"{block}.attn.rel_pos_h", f"{block}.attn.rel_pos_w"}
    names |= {"image_encoder.neck.0.weight", "image_encoder.neck.2.weight"}
    names |= both("image_encoder.neck.1", "image_encoder.neck.3")
    prompt = "prompt_encoder"
    names |= {f"{prompt}.pe_layer.positional_encoding_gaussian_matrix"}
    names |= {f"{prompt}.point_embeddings.{index}.weight" for index in range(4)}
    names |= {f"{prompt}.not_a_point_embed.weight", f"{prompt}.no_mask_embed.weight"}
    names |= both(*(f"{prompt}.mask_downscaling.{index}" for index in (0, 1, 3, 4, 6)))
    decoder = "mask_decoder"
    projections = ("q_proj", "k_proj", "v_proj", "out_proj")
    for index in range(config.decoder_depth):
        layer = f"{decoder}.transformer.layers.{index}"
        for part in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token"):
            names |= both(*(f"{layer}.{part}.{projection}" for projection in projections))
        parts = ("norm1", "norm2", "norm3", "norm4", "mlp.lin1", "mlp.lin2")
        names |= both(*(f"{layer}.{part}" for part in parts))
    final = f"{decoder}.transformer.final_attn_token_to_image"
    names |= both(*(f"{final}.{projection}" for projection in projections))
    names |= both(f"{decoder}.transformer.norm_final_attn")
    names |= {f"{decoder}.iou_token.weight", f"{decoder}.mask_tokens.weight"}
    names |= both(*(f"{decoder}.output_upscaling.{index}" for index in (0, 1, 3)))
    for mask in range(config.num_multimask_outputs + 1):
        names |= both(*(f"{decoder}.output_hypernetworks_mlps.{mask}.layers.{i}" for i in range(3)))
    heads = range(config.iou_head_depth)
    return names | both(*(f"{decoder}.iou_prediction_head.layers.{index}" for index in heads))


def test_names_are_metas():
    config = SamConfig.vit_b()
    assert set(native_names(abstract(config)).values()) == meta_names(config)
    assert len(meta_names(config)) == 314  # tensors in sam_vit_b_01ec64.pth


def test_config_round_trips_through_json():
    config = SamConfig.vit_h()
    again = from_dict(SamConfig, json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert hash(again) == hash(config)


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 100},
        {"heads": 7},
        {"out_chans": 20},
        {"decoder_heads": 3},
        {"global_attn_indexes": (12,)},
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ConfigError, match="SamConfig: expected"):
        SamConfig(**wrong)


def test_unsupported_transformers_variant_is_refused():
    with pytest.raises(ConfigError, match="use_rel_pos is False"):
        SamConfig.from_transformers_config({"vision_config": {"use_rel_pos": False}})


def test_gaussian_matrix_is_a_buffer():
    sam = abstract(dataclasses.replace(SamConfig.vit_b(), depth=1, global_attn_indexes=()))
    parameters, rest = nnx.state(sam, nnx.Param), nnx.state(sam, Buffer)
    assert len(jax.tree.leaves(rest)) == 1
    assert "pe_layer" not in parameters["prompt_encoder"]


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import sam_reference

    return sam_reference.torch_sam()


@pytest.fixture
def weights(model):
    import sam_reference

    return sam_reference.state_dict(model)


@pytest.fixture
def convert(model):
    from zsas_jax.networks.sam import convert_transformers

    config = SamConfig.from_transformers_config(model.config.to_dict())
    return lambda weights: convert_transformers(weights, config)


def test_every_tensor_arrives(convert, weights):
    leaves = jax.tree.leaves(convert(weights))
    count = sum(leaf.size for leaf in leaves)
    copies = weights["prompt_encoder.shared_embedding.positional_embedding"].size
    assert count == sum(array.size for array in weights.values()) - copies
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for leaf in leaves)


def test_without_the_tied_copy(convert, weights):
    del weights["prompt_encoder.shared_embedding.positional_embedding"]
    convert(weights)


def test_copies_that_differ(convert, weights):
    key = "prompt_encoder.shared_embedding.positional_embedding"
    weights[key] = weights[key] + 1
    with pytest.raises(WeightConversionError, match="differs from"):
        convert(weights)


def test_all_problems_in_one_error(convert, weights):
    del weights["mask_decoder.iou_token.weight"]
    weights["mask_decoder.surplus"] = np.zeros(3, np.float32)
    weights["vision_encoder.neck.conv1.weight"] = np.zeros((2, 2, 1, 1), np.float32)
    with pytest.raises(WeightConversionError) as caught:
        convert(weights)
    message = str(caught.value)
    for name in ("iou_token.weight", "mask_decoder.surplus", "vision_encoder.neck.conv1"):
        assert name in message
