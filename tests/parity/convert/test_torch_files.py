"""Files that torch writes: every container gives the same numbers, and damaged ones are refused."""

import clip_reference
import numpy as np
import official_layouts as official
import published_weights as published
import pytest
import torch

from zsas_jax.checkpoints.convert import open_source
from zsas_jax.errors import WeightConversionError

# Heads of 64 channels: what OpenAI's layout implies.
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
QUICK_GELU = {"clip": {"activation": "quick_gelu"}}


@pytest.fixture(scope="module")
def model():
    return clip_reference.build(**SIZES)


@pytest.fixture(scope="module")
def openai(model):
    return official.openai_names(official.state_of(model))


@pytest.fixture(scope="module")
def expected(model):
    return published.arrays(clip_reference.converted(model))


@pytest.mark.parametrize(
    ("file", "write"),
    [
        ("pytorch_model.bin", official.write_pickle),
        (".", lambda state, place: official.write_shards(state, place)),
        (
            ".",
            lambda state, place: official.write_shards(state, place, "pytorch_model", ".bin"),
        ),
    ],
    ids=["bin", "shards", "bin shards"],
)
def test_transformers_directories(model, expected, file, write, tmp_path):
    write(official.state_of(model), official.write_config(model, tmp_path) / file)
    source = open_source(tmp_path, "clip")
    assert source.layout.name == "transformers"
    assert published.arrays(source.read()) == expected


def write_training(state, path):
    training = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    torch.save(training, path)


@pytest.mark.parametrize(
    ("container", "write"),
    [
        ("TorchScript archive", official.write_torchscript),
        ("PyTorch zip file", official.write_pickle),
        (
            "old PyTorch pickle",
            lambda state, path: official.write_pickle(
                state, path, _use_new_zipfile_serialization=False
            ),
        ),
        ("PyTorch zip file", write_training),
    ],
    ids=["script", "zip", "old", "training"],
)
def test_single_files(openai, expected, container, write, tmp_path):
    # Names say nothing: the content does.
    write(openai, tmp_path / "some.weights")
    source = open_source(tmp_path / "some.weights", "clip", QUICK_GELU)
    assert source.weights.container == container
    assert published.arrays(source.read()) == expected


def test_half_precision_and_strides_of_torchscript(openai, tmp_path):
    half = {name: t.half() if t.ndim > 1 else t for name, t in openai.items()}
    transposed = half["text_projection"].T.contiguous().T  # same numbers, other strides
    path = official.write_torchscript({**half, "text_projection": transposed}, tmp_path / "a.pt")
    # OpenAI's archives are complete in themselves.
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"vision_cfg": 3}}')
    network = open_source(path).read()
    np.testing.assert_array_equal(
        network.text_projection[...], half["text_projection"].float().numpy()
    )


def test_bfloat16_files_are_read(model, tmp_path):
    state = {name: tensor.bfloat16() for name, tensor in official.state_of(model).items()}
    official.write_safetensors(
        state, official.write_config(model, tmp_path / "a") / "model.safetensors"
    )
    official.write_pickle(state, official.write_config(model, tmp_path / "b") / "pytorch_model.bin")
    first, second = (published.arrays(open_source(tmp_path / name).read()) for name in "ab")
    assert first == second


@pytest.mark.parametrize("write", ["zip", "old", "script"])
@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_truncated_files(openai, tmp_path, write, keep):
    path = tmp_path / "weights"
    if write == "script":
        official.write_torchscript(openai, path)
    else:
        official.write_pickle(openai, path, _use_new_zipfile_serialization=write == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(WeightConversionError, match=r"truncated|damaged") as caught:
        open_source(path, options=QUICK_GELU).read()
    assert "\n" not in str(caught.value)


class Hostile:
    """A pickle of it would make a directory."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        import os

        return os.mkdir, (self.marker,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_state_dict_is_refused(openai, tmp_path, zipped):
    path, marker = tmp_path / "model.pth", tmp_path / "was-run"
    state = {**openai, "extra": Hostile(marker)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightConversionError) as caught:
        open_source(path)
    expected = "is refused, nothing of it was run: its pickle names posix.mkdir"
    assert expected in str(caught.value)
    assert not marker.exists()
