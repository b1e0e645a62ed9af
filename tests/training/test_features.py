"""The cache of patch tokens: keys, damage, room, other weights."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from small_world import mvtec_tree

from zsas_jax.data.registry import open_dataset
from zsas_jax.errors import ConfigError
from zsas_jax.methods import HEADS
from zsas_jax.testing import dummy_bundle
from zsas_jax.training import features
from zsas_jax.training.photos import read_photo, stretch

HEAD = HEADS["umci"]


def _features(layers=(1, 2), size=32, seed=0):
    """Patch tokens of two layers of a small CLIP, as UMCI reads them."""
    networks = dummy_bundle(["clip", "umci"], seed).model
    networks.umci.config = dataclasses.replace(networks.umci.config, layers=layers)
    return features.Features(HEAD, HEAD.config(), networks, size)


@pytest.fixture(scope="module")
def read():
    return _features()


def _tokens(cache, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=cache.shape).astype(ml_dtypes.bfloat16)


def test_tokens_come_back_bit_for_bit_and_damaged_ones_are_missing(read, tmp_path):
    cache = features.FeatureCache(tmp_path, read)
    assert cache.shape == (2, 16, 16)
    tokens = _tokens(cache)
    assert cache.read("ab12") is None
    cache.write("ab12", tokens)
    np.testing.assert_array_equal(cache.read("ab12"), tokens)
    (file,) = tmp_path.rglob("*.npy")
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole + b"x", b"\0" * len(whole)):
        file.write_bytes(damaged)
        assert cache.read("ab12") is None
    cache.write("ab12", tokens)
    np.testing.assert_array_equal(cache.read("ab12"), tokens)
    assert [path.name for path in tmp_path.rglob("*.part*")] == []


def test_other_weights_layers_or_sizes_have_places_of_their_own(read, tmp_path, caplog):
    caplog.set_level("INFO", "zsas_jax")
    first = features.FeatureCache(tmp_path, read)
    first.write("ab12", _tokens(first))
    for other in (_features(seed=1), _features(layers=(2, 1)), _features(size=40)):
        assert features.FeatureCache(tmp_path, other).read("ab12") is None
    assert "features of other weights or settings" in caplog.text
    assert features.FeatureCache(tmp_path, read).read("ab12") is not None
    # A directory that was renamed to another key is refused.
    key = json.loads((first.directory / "key.json").read_text())
    (first.directory / "key.json").write_text(json.dumps({**key, "weights": "other"}))
    with pytest.raises(ConfigError, match="features of other weights"):
        features.FeatureCache(tmp_path, read)


def test_too_little_room_is_said_before_anything_is_computed(read, tmp_path, monkeypatch):
    cache = features.FeatureCache(tmp_path, read)
    usage = features.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(features.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ConfigError, match=r"5 photos need .* are free: .*--task.data.no-cache"):
        cache.require_space(5)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features.os, "fsync", fail)
    with pytest.raises(ConfigError, match="No space left on device"):
        cache.write("ab12", _tokens(cache))
    assert cache.read("ab12") is None


def test_filling_computes_each_photo_once_and_only_what_is_missing(read, tmp_path):
    source = open_dataset("mvtec", mvtec_tree(tmp_path / "data", 1))
    cache = features.FeatureCache(tmp_path / "cache", read)
    encode = features.make_encoder(read)
    calls = []

    def counted(images):
        calls.append(len(images))
        return encode(images)

    def fill(indices):
        options = {"size": 32, "batch_size": 4, "workers": 1}
        return features.fill(cache, source, indices, counted, **options)

    digests = fill(range(6))
    assert calls == [4, 4]
    assert len(set(digests.values())) == 6
    assert fill(range(6)) == digests
    assert calls == [4, 4]
    (file,) = cache.directory.rglob(f"{digests[5]}.npy")
    file.write_bytes(b"half")
    fill(range(6))
    assert calls == [4, 4, 4]
    image = stretch(read_photo(source[5]), 32).image
    direct = np.stack(jax.device_get(read(read.networks, jnp.asarray(image[None]))))[:, 0]
    np.testing.assert_allclose(
        cache.read(digests[5]).astype(np.float32), direct.astype(np.float32), rtol=2e-2, atol=1e-2
    )
