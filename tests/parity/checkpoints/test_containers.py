"""Every published layout of the same weights, told by its content, gives the same parameters."""

import dataclasses
import json
import math

import clip_reference
import numpy as np
import official_layouts as official
import pytest
import sam_reference
import transformers
from official_layouts import torch

from zsas_jax.checkpoints.convert import open_source
from zsas_jax.errors import WeightConversionError
from zsas_jax.networks.clip import ClipConfig
from zsas_jax.networks.sam import SamConfig

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


def write_json(path, content):
    path.write_text(json.dumps(content))


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
        write_json(directory / "open_clip_config.json", config)
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


@pytest.mark.parametrize("names", [official.openai_names, lambda state: state])
def test_open_clip_config_tells_the_heads(names, tmp_path):
    # 32 and 8 channels wide.
    sizes = {
        name: dict(SIZES[name], num_attention_heads=heads)
        for name, heads in (("vision", 4), ("text", 8))
    }
    model = clip_reference.build(**sizes, dim=24)
    path = official.write_safetensors(names(official.state_of(model)), tmp_path / "a.safetensors")
    # open_clip's text towers have 8 heads where nothing is said.
    description = {
        "vision_cfg": {"width": 128, "head_width": 32, "act_kwargs": None, "no_ln_pre": False},
        "text_cfg": {"layers": 2, "pool_type": "argmax"},
    }
    for content in ({"model_cfg": description}, description):
        write_json(tmp_path / "open_clip_config.json", content)
        source = open_source(path, activation="quick_gelu")
        expected = ClipConfig.from_transformers_config(model.config.to_dict())
        assert dataclasses.replace(source.config, text_pooling="argmax") == expected
        assert official.arrays(source.read()) == official.arrays(clip_reference.converted(model))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"vision_cfg": {"head_width": 24}}, "vision_cfg.head_width is 24, .* divides .* 128"),
        ({"text_cfg": {"heads": "8"}}, "text_cfg.heads is '8', .* divides .* 64"),
        ({"vision_cfg": {"width": 768}}, "vision_cfg.width is 768, expected 128"),
        ({"vision_cfg": 3}, "vision_cfg is 3, expected an object"),
        ([2], r"model_cfg is \[2\], expected an object"),
        ({"text_cfg": {"no_causal_mask": True}}, "text_cfg.no_causal_mask is True, expected False"),
        ({"text_cfg": {"pool_type": "last"}}, "text_cfg.pool_type is 'last', expected 'argmax'"),
        ({"vision_cfg": {"pool_type": "avg"}}, "vision_cfg.pool_type is 'avg', expected 'tok'"),
        (
            {"vision_cfg": {"act_kwargs": {"approximate": "tanh"}}},
            "vision_cfg.act_kwargs is {'approximate': 'tanh'}, expected {}",
        ),
    ],
)
def test_an_open_clip_config_that_does_not_fit(clip, tmp_path, model, message):
    openai = official.openai_names(official.state_of(clip))
    official.write_safetensors(openai, tmp_path / "open_clip_model.safetensors")
    write_json(tmp_path / "open_clip_config.json", {"model_cfg": model})
    with pytest.raises(WeightConversionError, match=rf"open_clip_config.json: {message}"):
        open_source(tmp_path)


HALF = (0.5, 0.5, 0.5)
INCEPTION = {"mean": HALF, "std": HALF}  # of LAION's L/14


def test_pixel_mean_and_std_of_a_clip_are_those_of_its_files(clip, tmp_path):
    state = official.state_of(clip)
    official.write_safetensors(state, write_config(clip, tmp_path) / "model.safetensors")
    openai = official.openai_names(state)
    official.write_safetensors(openai, tmp_path / "open_clip_model.safetensors")

    def pixels(file="model.safetensors"):
        config = open_source(tmp_path / file).config
        return config.pixel_mean, config.pixel_std

    assert pixels() == (ClipConfig.pixel_mean, ClipConfig.pixel_std)
    (tmp_path / "preprocessor_config.json").write_text(
        transformers.CLIPImageProcessor().to_json_string()
    )
    assert pixels() == (ClipConfig.pixel_mean, ClipConfig.pixel_std)
    # Each layout's own file first; the two formats stay one model.
    write_json(tmp_path / "preprocessor_config.json", {"image_mean": [0, 0.25, 0.5]})
    content = {"model_cfg": {"quick_gelu": True}, "preprocess_cfg": INCEPTION}
    write_json(tmp_path / "open_clip_config.json", content)
    assert pixels() == ((0.0, 0.25, 0.5), ClipConfig.pixel_std)
    assert pixels("open_clip_model.safetensors") == (HALF, HALF)
    assert open_source(tmp_path).config.pixel_mean == (0.0, 0.25, 0.5)
    (tmp_path / "preprocessor_config.json").unlink()
    assert pixels() == (HALF, HALF)
    # OpenAI's archives are complete in themselves.
    official.write_torchscript(openai, tmp_path / "ViT.pt")
    assert pixels("ViT.pt") == (ClipConfig.pixel_mean, ClipConfig.pixel_std)


def test_pixel_mean_and_std_of_a_sam_are_those_of_its_file(sam, tmp_path):
    state = official.state_of(sam)
    official.write_safetensors(state, write_config(sam, tmp_path) / "model.safetensors")
    write_json(tmp_path / "open_clip_config.json", {"preprocess_cfg": INCEPTION})
    before = open_source(tmp_path).config
    file = tmp_path / "preprocessor_config.json"
    file.write_text(transformers.SamImageProcessor().to_json_string())
    assert json.loads(file.read_text())["image_mean"] == [0.485, 0.456, 0.406]
    assert open_source(tmp_path).config == before
    write_json(file, {"image_mean": HALF, "image_std": HALF})
    found = open_source(tmp_path).config
    assert found.pixel_mean == found.pixel_std == (127.5, 127.5, 127.5)
    # Of another model, in the same directory.
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    official.write_pickle(official.meta_names(state), tmp_path / "sam.pth")
    assert open_source(tmp_path / "sam.pth").config == before


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"image_mean": [0.5, 0.5]}, r"image_mean is \[0.5, 0.5\], expected three numbers"),
        ({"image_mean": ["a", 0, 0]}, "expected three numbers"),
        ({"image_std": [1, 0, 1]}, r"image_std is \[1, 0, 1\], expected three positive numbers"),
        ({"image_std": [1, math.nan, 1]}, "expected three positive numbers"),
    ],
)
def test_pixel_means_that_make_no_sense(clip, tmp_path, stated, message):
    state = official.state_of(clip)
    official.write_safetensors(state, write_config(clip, tmp_path) / "model.safetensors")
    write_json(tmp_path / "preprocessor_config.json", stated)
    with pytest.raises(WeightConversionError, match=f"preprocessor_config.json: .*{message}"):
        open_source(tmp_path)


def test_published_sizes_tell_heads_and_activation():
    from flax import nnx

    from zsas_jax.checkpoints.identify import abstract_network
    from zsas_jax.convert.rules import apply_rename, native_names
    from zsas_jax.networks.clip import PRESETS
    from zsas_jax.networks.clip.convert import (
        OPENAI_RULES,
        config_from_shapes,
        published_activation,
        with_heads,
    )

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
        found = with_heads(config_from_shapes(shapes, OPENAI_RULES), {})
        expected = dataclasses.replace(preset, activation="quick_gelu")
        assert found == expected
        if published_activation(found):
            assert published_activation(found) == preset.activation
