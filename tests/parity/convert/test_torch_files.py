"""What is refused: damaged, foreign, hostile and ambiguous files, each with a clear sentence."""

import pickle
import shutil
import zipfile

import clip_reference
import official_layouts as official
import pytest
import sam_reference
from official_layouts import torch
from test_layouts import SIZES, write_config

from zsas_jax.checkpoints.convert import open_source
from zsas_jax.errors import WeightConversionError


@pytest.fixture(scope="module")
def state():
    return official.state_of(clip_reference.build(**SIZES))


@pytest.fixture(scope="module")
def sam_state():
    return official.state_of(sam_reference.torch_sam())


@pytest.fixture
def directory(tmp_path):
    return write_config(clip_reference.build(**SIZES), tmp_path / "clip")


def refused(path, network=None):
    with pytest.raises(WeightConversionError) as caught:
        open_source(path, network).read()
    return str(caught.value)


def test_every_damaged_key_is_named_in_one_error(state, directory):
    weights = dict(state)
    layer = "vision_model.encoder.layers.1."
    del weights[f"{layer}mlp.fc2.bias"]
    weights["extra.weight"] = torch.zeros(3)
    weights["text_model.final_layernorm.bias"] = weights.pop("text_model.final_layer_norm.bias")
    weights[f"{layer}mlp.fc1.weight"] = weights[f"{layer}mlp.fc1.weight"].T
    weights["visual_projection.weight"] = weights["visual_projection.weight"].reshape(-1)
    weights["logit_scale"] = torch.tensor(torch.nan)
    official.write_safetensors(
        {name: t.contiguous() for name, t in weights.items()}, directory / "model.safetensors"
    )
    message = refused(directory)
    for expected in (
        "2 missing, 2 unexpected, 2 mis-shaped, 1 not finite",
        f"{layer}mlp.fc2.bias",
        "extra.weight",
        "(found instead: text_model.final_layernorm.bias?)",
        f"{layer}mlp.fc1.weight",
        "visual_projection.weight",
        "logit_scale",
        str(directory),
    ):
        assert expected in message


@pytest.mark.parametrize("write", ["safetensors", "zip", "old", "script"])
@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_truncated_files(state, tmp_path, write, keep):
    openai = official.openai_names(state)
    path = tmp_path / "weights"
    if write == "safetensors":
        official.write_safetensors(openai, path)
    elif write == "script":
        official.write_torchscript(openai, path)
    else:
        official.write_pickle(openai, path, _use_new_zipfile_serialization=write == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    message = refused(path)
    assert "truncated" in message or "damaged" in message
    assert "\n" not in message


def test_a_safetensors_header_that_is_cut_or_lies(state, tmp_path):
    path = official.write_safetensors(state, tmp_path / "a")
    data = path.read_bytes()
    path.write_bytes(data[:300])
    assert "damaged (its header is cut off)" in refused(path)
    path.write_bytes(data[:8] + data[8:].replace(b'"shape":[128]', b'"shape":[127]', 1))
    assert "damaged (its header" in refused(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
        (b"\x00\x01\x02\x03", "of an unknown kind (it starts with 00 01 02 03)"),
        (b"PK\x03\x04 and no more", "lacks its end"),
    ],
)
def test_files_that_are_no_weights(tmp_path, content, expected):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert expected in refused(path)


def test_one_network_given_as_the_other(state, sam_state, tmp_path):
    clip = official.write_safetensors(state, write_config_free(tmp_path / "c") / "x")
    sam = official.write_pickle(official.meta_names(sam_state), tmp_path / "s" / "x")
    with pytest.raises(WeightConversionError, match=r"holds a SAM .*: give it as --sam"):
        open_source(sam, "clip")
    with pytest.raises(WeightConversionError, match=r"holds a CLIP .*: give it as --clip"):
        open_source(clip, "sam", activation="gelu")


def write_config_free(directory):
    directory.mkdir()
    return directory


def test_a_directory_with_two_models(state, sam_state, directory):
    official.write_safetensors(state, directory / "model.safetensors")
    official.write_pickle(official.meta_names(sam_state), directory / "sam_vit_b.pth")
    message = refused(directory)
    assert "holds two models (model.safetensors and sam_vit_b.pth)" in message
    # Two of the same size are two as well, unless their names are those of one model's formats.
    (directory / "sam_vit_b.pth").unlink()
    shutil.copy(directory / "model.safetensors", directory / "finetuned.safetensors")
    assert "holds two models" in refused(directory)
    (directory / "finetuned.safetensors").rename(directory / "open_clip_pytorch_model.bin")
    official.write_pickle(official.openai_names(state), directory / "open_clip_pytorch_model.bin")
    assert open_source(directory).layout.name == "transformers"


def test_shards(state, directory):
    official.write_shards(state, directory)
    first = directory / "model-00001-of-00003.safetensors"
    kept = first.read_bytes()
    first.unlink()
    assert "3 shards, of which 1 are missing: model-00001" in refused(directory)
    first.write_bytes(kept)
    (directory / "model.safetensors.index.json").unlink()
    assert "without its index file" in refused(directory)


def test_nothing_to_read(tmp_path):
    assert "was not found" in refused(tmp_path / "nowhere")
    assert "holds no weights" in refused(tmp_path)
    official.write_safetensors({"resnet.weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    assert "holds neither a CLIP nor a SAM: its 1 names are resnet.weight" in refused(tmp_path)


def test_the_gaussian_matrix_must_agree_with_its_copy(sam_state, tmp_path):
    model = sam_reference.torch_sam()
    copy = "prompt_encoder.shared_embedding.positional_embedding"
    damaged = {**sam_state, copy: sam_state[copy] + 1}
    official.write_safetensors(damaged, write_config(model, tmp_path) / "model.safetensors")
    assert "differs from" in refused(tmp_path)


# Pickles that would run code. Nothing of them may be imported or called.


class Hostile:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        import os

        return os.mkdir, (self.marker,)


def test_a_hostile_state_dict_is_refused(state, tmp_path):
    marker = tmp_path / "was-run"
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        path = tmp_path / "model.pth"
        torch.save({**state, "extra": Hostile(marker)}, path, **options)
        message = refused(path)
        assert "is refused, nothing of it was run: its pickle names posix.mkdir" in message
        assert not marker.exists()


def test_a_hostile_torchscript_archive_is_refused(state, tmp_path):
    marker = tmp_path / "was-run"
    path = official.write_torchscript(official.openai_names(state), tmp_path / "a.pt")
    hostile = pickle.dumps(Hostile(marker), protocol=2)
    official.rewrite_zip(path, lambda name, data: hostile if name.endswith("/data.pkl") else data)
    message = refused(path)
    assert "names posix.mkdir, which weights do not need: refused, nothing of it was run" in message
    assert not marker.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n.",
        b"cos\nsystem\n.",
        b"ctorch\nload\n.",
        b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n.",
        b"czsas_jax.weights.torch_archive\nStub\n.",
        b"\x80\x02cbuiltins\ngetattr\n(c__torch__\nA\nX\x08\x00\x00\x00__init__tR.",
    ],
)
def test_torchscript_pickles_name_tensors_and_stubs_only(tmp_path, program):
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/constants.pkl", pickle.dumps(()))
    assert "refused, nothing of it was run" in refused(path)


def test_a_torchscript_tensor_outside_its_storage_is_refused(tmp_path):
    # Three numbers from the third on of a storage of four.
    program = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        b"K\x04tQK\x02(K\x03t(K\x01t\x89Nt R."
    ).replace(b" R", b"R")
    path = tmp_path / "a.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/constants.pkl", pickle.dumps(()))
        archive.writestr("a/data/0", b"\x00" * 16)
    assert "a tensor lies outside its storage" in refused(path)
