"""Checkpoint directories: settings, tokenizers, devices, and every way to break one.

That each network's numbers survive is `tests/networks/test_every_network.py`.
"""

import dataclasses
import json
import shutil

import jax
import numpy as np
import published_weights as published
import pytest
from jax.sharding import Mesh

import zsas_jax
from zsas_jax.checkpoints import Compute, Verdict, sharding
from zsas_jax.checkpoints.manifest import write_manifest
from zsas_jax.errors import CheckpointError, ConfigError, ZsasError
from zsas_jax.networks import NETWORKS, abstract_networks
from zsas_jax.testing import dummy_bundle

TEXT = ["a photo of a damaged nut."]


@pytest.fixture(scope="module")
def bundle():
    found = dummy_bundle()
    config = zsas_jax.Config(
        found.config.networks,
        "umci",
        {"umci": {"head": {"views": {"image_size": 40}}}},
        {"umci": Verdict(0.4, 0.6)},
        Compute("bfloat16", 1),
    )
    return found._replace(config=config)


@pytest.fixture(scope="module")
def saved(bundle, tmp_path_factory):
    return zsas_jax.save(tmp_path_factory.mktemp("checkpoints") / "model", bundle)


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "model")


def test_settings_and_tokenizer_survive(bundle, saved):
    loaded = zsas_jax.load(saved)
    assert loaded.config == bundle.config
    assert loaded.model.names == tuple(NETWORKS)
    np.testing.assert_array_equal(loaded.tokenizer(TEXT), bundle.tokenizer(TEXT))


def test_every_network_that_reads_keeps_its_own_tokenizer(tmp_path, monkeypatch):
    name, reading = next((name, kind) for name, kind in NETWORKS.items() if kind.tokenizer)
    monkeypatch.setitem(NETWORKS, "reader", reading._replace(name="reader"))
    bundle = dummy_bundle([name, "reader"])
    other = reading.tokenizer.train(["scratched screws"] * 9, reading.small)
    bundle = bundle._replace(tokenizers={**bundle.tokenizers, "reader": other})
    loaded = zsas_jax.load(zsas_jax.save(tmp_path / "two", bundle))
    for key, words in bundle.tokenizers.items():
        np.testing.assert_array_equal(loaded.tokenizers[key](TEXT), words(TEXT))
    assert (loaded.tokenizers[name](TEXT) != loaded.tokenizers["reader"](TEXT)).any()
    alone = zsas_jax.load(tmp_path / "two", networks=("reader",))
    assert list(alone.tokenizers) == ["reader"]


def test_an_existing_directory_is_kept_unless_overwritten(bundle, copy):
    with pytest.raises(CheckpointError, match="exists already"):
        zsas_jax.save(copy, bundle)
    (copy / "README.md").write_text("written by hand")
    zsas_jax.save(copy, bundle, overwrite=True)
    assert (copy / "README.md").read_text() == "written by hand"
    assert zsas_jax.load(copy).config == bundle.config
    assert [place.name for place in copy.parent.iterdir()] == [copy.name]


def test_loading_onto_a_mesh(bundle, saved, monkeypatch):
    monkeypatch.setattr(sharding, "SMALLEST_SPLIT", 0)
    mesh = Mesh(np.array(jax.local_devices()[:1]), ("model",))
    spread = zsas_jax.load(saved, mesh=mesh).model
    assert published.arrays(spread) == published.arrays(bundle.model)
    assert {leaf.sharding.mesh for leaf in jax.tree.leaves(spread)} == {mesh}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((6, 512), (None, "model")), ((512, 6), ("model",)), ((7, 511), ()), ((8,), ())],
)
def test_large_arrays_are_split_along_their_longest_axis(shape, expected, monkeypatch):
    monkeypatch.setattr(sharding, "SMALLEST_SPLIT", 1000)
    mesh = jax.sharding.AbstractMesh((2, 4), ("data", "model"))
    assert tuple(sharding.parameter_sharding(mesh)(shape).spec) == expected


def remove(name):
    return lambda directory: (directory / name).unlink()


def replace(name, text):
    return lambda directory: (directory / name).write_text(text)


def edit(change, *, listed=False):
    """Changes config.json, and the manifest with it where the change shall look intended."""

    def damage(directory):
        file = directory / "config.json"
        stored = json.loads(file.read_text())
        change(stored)
        file.write_text(json.dumps(stored))
        if listed:
            write_manifest(directory)

    return damage


def weights(change):
    def damage(directory):
        file = directory / "model.safetensors"
        file.write_bytes(change(file.read_bytes()))

    return damage


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def damaged_before_it_was_listed(directory):
    weights(lambda data: data[:100])(directory)
    write_manifest(directory)


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (remove("config.json"), CheckpointError, "config.json is missing"),
        (replace("config.json", '{"format": 1, "conf'), CheckpointError, "expected JSON"),
        (replace("config.json", "[]"), CheckpointError, "expected an object with the field format"),
        (edit(lambda c: c.update(format=1)), CheckpointError, "format 1.*expected format 2"),
        (edit(lambda c: c.update(format=99)), CheckpointError, "format 99.*expected format 2"),
        (edit(lambda c: c.update(methods=3)), CheckpointError, "methods is 3"),
        (edit(lambda c: c["networks"].update(dino={})), CheckpointError, "a network 'dino'"),
        (edit(lambda c: c["networks"]["umci"].update(depth=3)), ConfigError, "networks.umci.*dept"),
        (edit(lambda c: c["compute"].update(dtype="int8")), ConfigError, "compute.*int8"),
        (edit(lambda c: c["verdicts"]["umci"].update(mask_threshold=7)), ConfigError, "is 7"),
        (edit(lambda c: c["networks"]["umci"].update(width=3), listed=True), ConfigError, "width"),
        (
            edit(lambda c: c["networks"]["umci"].update(hidden_dim=16), listed=True),
            CheckpointError,
            "model.safetensors does not hold the networks that config.json describes",
        ),
        (edit(lambda c: c.update(more=1)), CheckpointError, r"config.json is damaged: it has"),
        (remove("tokenizer.json"), CheckpointError, "tokenizer.json is missing"),
        (remove("manifest.json"), CheckpointError, "manifest.json is missing"),
        (replace("manifest.json", '{"a": {}}'), CheckpointError, "table of files"),
        (remove("model.safetensors"), CheckpointError, "is missing: expected a file"),
        (weights(lambda data: data[:-10]), CheckpointError, "is damaged: it has"),
        (weights(flipped), CheckpointError, "sha256"),
        (
            damaged_before_it_was_listed,
            CheckpointError,
            "model.safetensors is damaged: expected a safetensors file",
        ),
    ],
)
def test_damage_is_one_sentence(copy, damage, error, words):
    damage(copy)
    with pytest.raises(error, match=words) as caught:
        zsas_jax.load(copy)
    assert isinstance(caught.value, ZsasError)
    assert "\n" not in str(caught.value)
    assert error is ConfigError or str(copy) in str(caught.value)


def test_missing_and_foreign_tensors_are_refused(copy):
    published.write({"clip.surplus": np.zeros(3)}, copy / "model.safetensors")
    write_manifest(copy)
    with pytest.raises(CheckpointError, match="tensors differ, first"):
        zsas_jax.load(copy)


def test_an_unknown_name_says_what_is_expected():
    with pytest.raises(CheckpointError, match="'tyni' was not found: expected a directory"):
        zsas_jax.load("tyni")


def test_networks_that_do_not_fit_each_other_have_no_shapes(bundle):
    configs = dict(bundle.config.networks)
    configs["umci"] = dataclasses.replace(configs["umci"], width=24)
    with pytest.raises(ConfigError, match=r"umci.width is 24: expected CLIP's 16"):
        abstract_networks(configs)
