"""Every published layout of the same weights, told by its content, gives the same parameters."""

import dataclasses
import json

import clip_reference
import numpy as np
import official_layouts as official
import pytest
import sam_reference
from official_layouts import torch

from zsas_jax.clip import ClipConfig
from zsas_jax.errors import WeightConversionError
from zsas_jax.sam import SamConfig
from zsas_jax.weights.convert import open_source

# Heads of 64 channels: what OpenAI's layout implies. No two sizes are equal by accident.
SIZES = {
    "vision": {
        "hidden_size": 128,
        "intermediate_size": 320,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    },
    "text": {
        "vocab_size": 99,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "max_position_embeddings": 13,
    },
    "dim": 24,
}


@pytest.fixture(scope="module")
def clip():
    return clip_reference.build(**SIZES)


@pytest.fixture(scope="module")
def sam():
    # 8 heads: what Meta's layout implies.
    sections = json.loads(json.dumps(sam_reference.TINY))
    sections["mask_decoder_config"]["num_attention_heads"] = 8
    return sam_reference.torch_sam(sections)


def write_config(model, directory):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(model.config.to_json_string())
    return directory


def clip_layouts(model, root):
    """Name -> path of every layout of a CLIP."""
    state = official.state_of(model)
    openai = official.openai_names(state)
    places = {}
    for name, file, write in (
        ("safetensors", "model.safetensors", official.write_safetensors),
        ("bin", "pytorch_model.bin", official.write_pickle),
    ):
        places[f"transformers {name}"] = write_config(model, root / f"hf-{name}")
        write(state, root / f"hf-{name}" / file)
    places["transformers shards"] = official.write_shards(
        state, write_config(model, root / "shards")
    )
    places["transformers bin shards"] = official.write_shards(
        state, write_config(model, root / "binshards"), "pytorch_model", ".bin"
    )
    # Names say nothing: the content does.
    places["TorchScript"] = official.write_torchscript(openai, root / "script.weights")
    sizes = {"input_resolution": torch.tensor(32)}
    places["plain"] = official.write_pickle({**openai, **sizes}, root / "plain" / "ViT.pt")
    places["old pickle"] = official.write_pickle(
        {**openai, **sizes}, root / "old.pth", _use_new_zipfile_serialization=False
    )
    for name, state in (("open_clip", openai), ("own text", official.custom_text_names(openai))):
        directory = root / name
        official.write_safetensors(state, directory / "open_clip_model.safetensors")
        config = {"model_cfg": {"embed_dim": 24, "quick_gelu": True}}
        (directory / "open_clip_config.json").write_text(json.dumps(config))
        places[name] = directory
    training = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in openai.items()}}
    torch.save(training, root / "epoch_3.pt")
    places["training"] = root / "epoch_3.pt"
    return places


def test_every_clip_layout_gives_the_same_parameters(clip, tmp_path):
    expected = official.arrays(clip_reference.converted(clip))
    config = ClipConfig.from_transformers_config(clip.config.to_dict())
    places = clip_layouts(clip, tmp_path)
    for name, place in places.items():
        activation = "quick_gelu" if name == "training" else None
        source = open_source(place, "clip", activation=activation)
        assert dataclasses.replace(source.config, text_pooling="argmax") == config, name
        assert official.arrays(source.read()) == expected, name


def test_every_sam_layout_gives_the_same_parameters(sam, tmp_path):
    expected = official.arrays(sam_reference.converted(sam))
    config = SamConfig.from_transformers_config(sam.config.to_dict())
    state = official.state_of(sam)
    meta = official.meta_names(state)
    official.write_safetensors(state, write_config(sam, tmp_path / "hf") / "model.safetensors")
    places = {
        "transformers": tmp_path / "hf",
        "without config": official.write_safetensors(state, tmp_path / "bare.safetensors"),
        "meta": official.write_pickle(meta, tmp_path / "sam_vit_b_01ec64.pth"),
    }
    for name, place in places.items():
        source = open_source(place, "sam")
        assert source.config == config, name
        assert official.arrays(source.read()) == expected, name


def test_half_precision_and_strides_of_torchscript(clip, tmp_path):
    openai = official.openai_names(official.state_of(clip))
    half = {name: t.half() if t.ndim > 1 else t for name, t in openai.items()}
    transposed = half["text_projection"].T.contiguous().T  # same numbers, other strides
    path = official.write_torchscript({**half, "text_projection": transposed}, tmp_path / "a.pt")
    network = open_source(path).read()
    expected = half["text_projection"].float().numpy()
    np.testing.assert_array_equal(network.text_projection[...], expected)


def test_bfloat16_files_are_read(clip, tmp_path):
    state = {name: tensor.bfloat16() for name, tensor in official.state_of(clip).items()}
    official.write_safetensors(state, write_config(clip, tmp_path / "a") / "model.safetensors")
    official.write_pickle(state, write_config(clip, tmp_path / "b") / "pytorch_model.bin")
    first, second = (official.arrays(open_source(tmp_path / name).read()) for name in "ab")
    assert first == second


def test_the_activation_is_never_guessed(clip, tmp_path):
    openai = official.openai_names(official.state_of(clip))
    path = official.write_safetensors(openai, tmp_path / "clip.safetensors")
    with pytest.raises(WeightConversionError, match=r"--clip-activation quick_gelu\|gelu"):
        open_source(path)
    assert open_source(path, activation="gelu").config.activation == "gelu"
    half = {name: t.half() if t.ndim > 1 else t for name, t in openai.items()}
    path = official.write_pickle(half, tmp_path / "half.pt")
    assert open_source(path).config.activation == "quick_gelu"
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 24}}')
    assert open_source(tmp_path / "clip.safetensors").config.activation == "gelu"


def test_published_sizes_tell_heads_and_activation():
    from flax import nnx

    from zsas_jax.clip import PRESETS
    from zsas_jax.clip.convert import OPENAI_RULES, config_from_shapes, published_activation
    from zsas_jax.weights.conversion import apply_rename, native_names
    from zsas_jax.weights.layouts import abstract_network

    for preset in PRESETS.values():
        network = abstract_network(preset)
        names = native_names(network)
        leaves = nnx.to_flat_state(nnx.split(network)[1])
        # Shapes in PyTorch's order: only matrices and the patch kernel differ.
        shapes = {}
        for path, leaf in leaves:
            shape = leaf.get_value().shape
            shape = shape[::-1] if path[-1] == "kernel" else shape
            shapes[apply_rename(names[path], OPENAI_RULES).names[0]] = shape
        found = config_from_shapes(shapes, OPENAI_RULES)
        expected = dataclasses.replace(preset, activation="quick_gelu")
        assert found == expected
        if published_activation(found):
            assert published_activation(found) == preset.activation
