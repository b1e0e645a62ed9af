"""transformers' CLIP names, and what a damaged state dict is told."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from clip_reference import build, torch, transformers
from flax import nnx

from zsas_jax.convert.rules import check_manifest
from zsas_jax.errors import WeightConversionError
from zsas_jax.networks.clip import PRESETS, Clip, ClipConfig, convert_transformers
from zsas_jax.networks.clip.convert import TRANSFORMERS_IGNORED, TRANSFORMERS_RULES


@pytest.fixture(scope="module")
def parts():
    model = build()
    config = ClipConfig.from_transformers_config(model.config.to_dict())
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}, config


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-L-14-336"])
def test_names_and_shapes_of_published_sizes(name):
    config = PRESETS[name]
    text = {
        "hidden_size": config.text_width,
        "intermediate_size": 4 * config.text_width,
        "num_attention_heads": config.text_heads,
    }
    vision = {
        "hidden_size": config.vision_width,
        "intermediate_size": 4 * config.vision_width,
        "num_hidden_layers": config.vision_layers,
        "num_attention_heads": config.vision_heads,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
    }
    with torch.device("meta"):
        model = transformers.CLIPModel(
            transformers.CLIPConfig(
                text_config=text, vision_config=vision, projection_dim=config.embed_dim
            )
        )
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    clip = nnx.eval_shape(lambda: Clip(config, rngs=nnx.Rngs(0)))
    check_manifest(clip, shapes, TRANSFORMERS_RULES, TRANSFORMERS_IGNORED)


def test_the_logit_scale_keeps_its_precision(parts):
    weights, config = parts
    narrow = convert_transformers(weights, config, param_dtype=jnp.bfloat16)
    assert narrow.visual.proj.dtype == jnp.bfloat16
    assert narrow.logit_scale[...] == weights["logit_scale"]


def test_position_ids_of_old_files_are_ignored(parts):
    weights, config = parts
    old = {"text_model.embeddings.position_ids": np.arange(13)[None]}
    convert_transformers(weights | old, config)


def test_damaged_state_dict_is_described_in_one_error(parts):
    weights, config = dict(parts[0]), parts[1]
    layer = "vision_model.encoder.layers.1."
    del weights[f"{layer}self_attn.k_proj.weight"]
    weights["vision_model.pre_layernorm.weight"] = weights.pop("vision_model.pre_layrnorm.weight")
    weights["text_model.head.weight"] = np.zeros(3, np.float32)
    weights[f"{layer}mlp.fc1.weight"] = weights[f"{layer}mlp.fc1.weight"].T
    weights["logit_scale"] = np.array(np.nan, np.float32)
    with pytest.raises(WeightConversionError) as caught:
        convert_transformers(weights, config)
    message = str(caught.value)
    for expected in (
        "2 missing, 2 unexpected, 1 mis-shaped, 1 not finite",
        f"{layer}self_attn.k_proj.weight",
        "vision_model.pre_layrnorm.weight (found instead: vision_model.pre_layernorm.weight?)",
        "text_model.head.weight",
        f"{layer}mlp.fc1.weight (for visual.transformer.resblocks.1.mlp.c_fc.weight)",
        "logit_scale (as float32)",
    ):
        assert expected in message


def test_weights_of_another_size_are_refused(parts):
    weights, config = parts
    larger = dataclasses.replace(config, image_size=40, vision_layers=5)
    with pytest.raises(WeightConversionError, match="16 missing, 1 mis-shaped"):
        convert_transformers(weights, larger)
