"""What files beside a CLIP's weights, its names and shapes tell of its config."""

import dataclasses
import math

import numpy as np
import published_weights as published
import pytest
from flax import nnx

from zsas_jax.checkpoints.convert import open_source
from zsas_jax.errors import WeightConversionError
from zsas_jax.networks.clip import NETWORK, Clip, ClipConfig
from zsas_jax.testing import random_weights

# Heads of 64 channels: what OpenAI's layout implies. No two sizes are equal by accident.
CONFIG = ClipConfig(
    image_size=32,
    patch_size=8,
    vision_width=128,
    vision_layers=3,
    vision_heads=2,
    vision_mlp_ratio=2.5,
    context_length=13,
    vocab_size=99,
    text_width=64,
    text_layers=2,
    text_heads=1,
    text_mlp_ratio=1.5,
    embed_dim=24,
    end_token_id=98,
)
TRANSFORMERS = {
    "model_type": "clip",
    "projection_dim": 24,
    "vision_config": {
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    },
    "text_config": {
        "vocab_size": 99,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "max_position_embeddings": 13,
        "eos_token_id": 2,
    },
}
LAYOUTS = {layout.name: layout for layout in NETWORK.layouts}
HALF = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def states():
    """Layout -> names and numbers of one CLIP."""
    clip = random_weights(lambda: Clip(CONFIG, rngs=nnx.Rngs(0)))
    return {
        name: published.state_dict(clip, layout.rules(CONFIG)) for name, layout in LAYOUTS.items()
    }


@pytest.fixture
def directory(states, tmp_path):
    """In transformers' layout, with its config.json."""
    published.write(states["transformers"], tmp_path / "model.safetensors")
    published.write_json(tmp_path / "config.json", TRANSFORMERS)
    return tmp_path


def opened(path, activation=None):
    options = {} if activation is None else {"clip": {"activation": activation}}
    return open_source(path, "clip", options)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("described", [True, False])
def test_sizes_are_told_by_config_or_shapes(states, layout, described, tmp_path):
    state = {"text_model.embeddings.position_ids": np.arange(13)[None], **states[layout]}
    if layout != "transformers":
        state = {"input_resolution": np.array(32), "attn_mask": np.zeros(2), **states[layout]}
    published.write(state, tmp_path / "model.safetensors")
    if described:
        published.write_json(tmp_path / "config.json", TRANSFORMERS)
    source = opened(tmp_path, None if described else "quick_gelu")
    assert source.layout.name == layout
    assert source.config == CONFIG
    assert source.problems() == 0


def test_a_config_of_another_network_is_refused(directory):
    published.write_json(directory / "config.json", TRANSFORMERS | {"model_type": "siglip"})
    with pytest.raises(WeightConversionError, match=r"config.json describes a 'siglip'.* a clip"):
        opened(directory)
    vision = {**TRANSFORMERS["vision_config"], "num_channels": 1}
    published.write_json(directory / "config.json", TRANSFORMERS | {"vision_config": vision})
    with pytest.raises(WeightConversionError, match=r"config.json: num_channels is 1"):
        opened(directory)


def test_the_activation_is_never_guessed(states, tmp_path):
    openai = states["openai"]
    path = published.write(openai, tmp_path / "clip.safetensors")
    with pytest.raises(WeightConversionError, match=r"--clip-activation quick_gelu\|gelu"):
        opened(path)
    assert opened(path, "gelu").config.activation == "gelu"
    # OpenAI's own files are told by their half precision.
    half = {name: x.astype(np.float16) if x.ndim > 1 else x for name, x in openai.items()}
    half = published.write(half, tmp_path / "half.safetensors")
    assert opened(half).config.activation == "quick_gelu"
    published.write_json(tmp_path / "open_clip_config.json", {"model_cfg": {"embed_dim": 24}})
    assert opened(path).config.activation == "gelu"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_open_clip_config_tells_the_heads(states, layout, tmp_path):
    path = published.write(states[layout], tmp_path / "a.safetensors")
    # open_clip's text towers have 8 heads where nothing is said.
    description = {
        "vision_cfg": {"width": 128, "head_width": 32, "act_kwargs": None, "no_ln_pre": False},
        "text_cfg": {"layers": 2, "pool_type": "argmax"},
    }
    for content in ({"model_cfg": description}, description):
        published.write_json(tmp_path / "open_clip_config.json", content)
        expected = dataclasses.replace(CONFIG, vision_heads=4, text_heads=8)
        assert opened(path, "quick_gelu").config == expected


def test_heads_of_wide_towers_are_not_guessed(states, tmp_path):
    wide = dataclasses.replace(
        CONFIG, vision_width=1280, vision_heads=16, vision_layers=1, vision_mlp_ratio=0.1
    )
    clip = random_weights(lambda: Clip(wide, rngs=nnx.Rngs(0)))
    state = published.state_dict(clip, LAYOUTS["openai"].rules(wide))
    path = published.write(state, tmp_path / "a.safetensors")
    with pytest.raises(
        WeightConversionError, match=r"tower of width 1280 is not known: .*open_clip_config.json"
    ):
        opened(path, "gelu")
    model = {"vision_cfg": {"head_width": 80}, "text_cfg": {"heads": 1}}
    published.write_json(tmp_path / "open_clip_config.json", model)
    assert opened(path, "quick_gelu").config == wide


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"vision_cfg": {"head_width": 24}}, "vision_cfg.head_width is 24: .* divides .* 128"),
        ({"text_cfg": {"heads": "8"}}, "text_cfg.heads is '8': .* divides .* 64"),
        ({"vision_cfg": {"width": 768}}, "vision_cfg.width is 768: expected 128"),
        ({"vision_cfg": 3}, "vision_cfg is 3: expected an object"),
        ([2], r"model_cfg is \[2\]: expected an object"),
        ({"text_cfg": {"no_causal_mask": True}}, "text_cfg.no_causal_mask is True: expected False"),
        ({"text_cfg": {"pool_type": "last"}}, "text_cfg.pool_type is 'last': expected 'argmax'"),
        ({"vision_cfg": {"act_kwargs": {"approximate": "tanh"}}}, "act_kwargs is .*: expected {}"),
    ],
)
def test_an_open_clip_config_that_does_not_fit(states, tmp_path, model, message):
    published.write(states["openai"], tmp_path / "open_clip_model.safetensors")
    published.write_json(tmp_path / "open_clip_config.json", {"model_cfg": model})
    with pytest.raises(WeightConversionError, match=rf"open_clip_config.json: .*{message}"):
        opened(tmp_path)


def test_pixel_mean_and_std_are_those_of_each_layouts_own_file(states, directory):
    published.write(states["openai"], directory / "open_clip_model.safetensors")
    preprocessor = directory / "preprocessor_config.json"

    def pixels(file="model.safetensors"):
        config = opened(directory / file).config
        return config.pixel_mean, config.pixel_std

    assert pixels() == (ClipConfig.pixel_mean, ClipConfig.pixel_std)
    published.write_json(preprocessor, {"image_mean": [0, 0.25, 0.5]})
    content = {
        "model_cfg": {"quick_gelu": True, "vision_cfg": {}},
        "preprocess_cfg": {"mean": HALF, "std": HALF},
    }
    published.write_json(directory / "open_clip_config.json", content)
    assert pixels() == ((0.0, 0.25, 0.5), ClipConfig.pixel_std)
    assert pixels("open_clip_model.safetensors") == (HALF, HALF)
    # The two formats stay one model.
    assert opened(directory).config.pixel_mean == (0.0, 0.25, 0.5)
    preprocessor.unlink()
    assert pixels() == (HALF, HALF)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"image_mean": [0.5, 0.5]}, r"image_mean is \[0.5, 0.5\]: expected three numbers"),
        ({"image_mean": ["a", 0, 0]}, "expected three numbers"),
        ({"image_std": [1, 0, 1]}, r"image_std is \[1, 0, 1\]: expected three positive numbers"),
        ({"image_std": [1, math.nan, 1]}, "expected three positive numbers"),
    ],
)
def test_pixel_means_that_make_no_sense(directory, stated, message):
    published.write_json(directory / "preprocessor_config.json", stated)
    with pytest.raises(WeightConversionError, match=f"preprocessor_config.json: .*{message}"):
        opened(directory)
