"""What is refused before a number is read: damaged, foreign, hostile and ambiguous files."""

import pickle
import shutil
import zipfile

import numpy as np
import published_weights as published
import pytest

from zsas_jax.checkpoints.convert import open_source
from zsas_jax.convert.files import open_weights
from zsas_jax.errors import WeightConversionError
from zsas_jax.networks import NETWORKS
from zsas_jax.testing import dummy_bundle


@pytest.fixture(scope="module")
def states():
    """Network -> the names and numbers of its first layout."""
    bundle = dummy_bundle()
    return {
        name: published.state_dict(
            getattr(bundle.model, name), kind.layouts[0].rules(bundle.config.networks[name])
        )
        for name, kind in NETWORKS.items()
        if kind.layouts
    }


@pytest.fixture
def directory(states, tmp_path):
    published.write(states["sam"], tmp_path / "sam" / "model.safetensors")
    return tmp_path / "sam"


def refused(path, network=None):
    with pytest.raises(WeightConversionError) as caught:
        open_source(path, network)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_truncated_files(directory, keep):
    path = directory / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    assert "truncated" in refused(path)


def test_a_header_that_is_cut_or_lies(directory):
    path = directory / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:300])
    assert "damaged (its header is cut off)" in refused(path)
    path.write_bytes(data[:8] + data[8:].replace(b'"shape":[16]', b'"shape":[15]', 1))
    assert "damaged (its header" in refused(path)


def test_a_file_that_shrinks_while_it_is_read(directory):
    path = directory / "model.safetensors"
    (weights,) = open_weights(path)
    path.write_bytes(path.read_bytes()[:-1000])
    last = max(weights.tensors.values(), key=lambda tensor: tensor.offset)
    with pytest.raises(WeightConversionError, match="is truncated"):
        last.read()


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


def test_one_network_given_as_the_other(directory):
    assert "holds a sam (layout transformers), not a clip: give it as --sam" in refused(
        directory, "clip"
    )


def test_a_directory_with_two_models(states, directory):
    published.write(states["sam"], directory / "sam_vit_b.safetensors")
    # Two of the same size are two as well, unless their names are those of one model's formats.
    assert "holds two models (model.safetensors and sam_vit_b.safetensors)" in refused(directory)
    (directory / "sam_vit_b.safetensors").rename(directory / "open_clip_pytorch_model.bin")
    assert open_source(directory).layout.name == "transformers"


def test_shards(states, directory):
    (directory / "model.safetensors").unlink()
    published.write_shards(states["sam"], directory)
    whole = open_source(directory)
    assert whole.problems() == 0
    assert whole.weights.container == "safetensors in shards"
    first = directory / "model-00001-of-00003.safetensors"
    kept = first.read_bytes()
    shutil.copy(directory / "model-00002-of-00003.safetensors", first)
    assert "once more than another shard" in refused(directory)
    published.write({"surplus": np.zeros(3)}, first)
    assert "tensors that its shards lack" in refused(directory)
    first.unlink()
    assert "3 shards, of which 1 are missing: model-00001" in refused(directory)
    first.write_bytes(kept)
    index = directory / "model.safetensors.index.json"
    for damage in ("{", "[]", '{"weight_map": {"a": 3}}'):
        index.write_text(damage)
        assert "index.json is damaged" in refused(directory)
    index.unlink()
    assert "without its index file" in refused(directory)


def test_nothing_to_read(tmp_path):
    assert "was not found" in refused(tmp_path / "nowhere")
    assert "holds no weights" in refused(tmp_path)
    published.write({"resnet.weight": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    message = refused(tmp_path)
    assert "holds no network that is known (clip, sam): its 1 names are resnet.weight" in message


def test_sizes_that_cannot_be_told(states, tmp_path):
    half = dict(list(states["sam"].items())[: len(states["sam"]) // 2])
    published.write(half, tmp_path / "model.safetensors")
    assert "the sizes of the sam" in refused(tmp_path)


def test_a_checkpoint_is_no_published_source(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    assert "is a checkpoint of zsas_jax already" in refused(tmp_path)


# Pickles that would run code. Nothing of them may be imported or called.


class Hostile:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        import os

        return os.mkdir, (self.marker,)


def torchscript(path, program, **entries):
    """The parts of a TorchScript archive that are looked at."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a/data.pkl", program)
        archive.writestr("a/constants.pkl", pickle.dumps(()))
        for name, data in entries.items():
            archive.writestr(f"a/data/{name}", data)
    return path


def test_a_hostile_torchscript_archive_is_refused(tmp_path):
    marker = tmp_path / "was-run"
    path = torchscript(tmp_path / "a.pt", pickle.dumps(Hostile(marker), protocol=2))
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
        b"czsas_jax.convert.torch_archive\nStub\n.",
        b"\x80\x02cbuiltins\ngetattr\n(c__torch__\nA\nX\x08\x00\x00\x00__init__tR.",
    ],
)
def test_torchscript_pickles_name_tensors_and_stubs_only(tmp_path, program):
    path = torchscript(tmp_path / "a.pt", program)
    assert "refused, nothing of it was run" in refused(path)


def test_a_torchscript_tensor_outside_its_storage_is_refused(tmp_path):
    # Three numbers from the third on of a storage of four.
    program = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        b"K\x04tQK\x02(K\x03t(K\x01t\x89Nt R."
    ).replace(b" R", b"R")
    path = torchscript(tmp_path / "a.pt", program, **{"0": b"\x00" * 16})
    assert "a tensor lies outside its storage" in refused(path)
