"""OpenAI's list of merges gives the tokenizer that its vocabulary files give."""

import gzip
import json

import numpy as np
import pytest

from zsas_jax.errors import CheckpointError
from zsas_jax.networks.clip import ClipConfig
from zsas_jax.networks.clip.tokenizer import train_tokenizer
from zsas_jax.networks.clip.vocabulary import MERGES, find_tokenizer, read_merges

TEXTS = ["a photo of a damaged metal nut.", "a photo of a flawless bottle", "nut's 12 ünïts"]
SIZE = 530


@pytest.fixture(scope="module")
def trained():
    return train_tokenizer(TEXTS * 3, SIZE, 20)


@pytest.fixture
def merges(trained, tmp_path):
    model = json.loads(trained.backend.to_str())["model"]
    lines = [" ".join(pair) for pair in model["merges"]]
    # OpenAI's file has a heading, and more merges than its vocabulary uses.
    text = "\n".join(['"bpe_simple_vocab_16e6.txt#version: 0.2', *lines, "x y", "z z"])
    path = tmp_path / (MERGES + ".gz")
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_the_same_ids_as_the_original(trained, merges):
    words = read_merges(merges, SIZE, 20)
    assert words.vocab_size == trained.vocab_size == SIZE
    np.testing.assert_array_equal(words(TEXTS), trained(TEXTS))


def test_found_beside_the_weights_or_named(trained, merges, tmp_path):
    config = ClipConfig(vocab_size=SIZE, context_length=20)
    for place in (tmp_path, merges):
        np.testing.assert_array_equal(find_tokenizer(place, config)(TEXTS), trained(TEXTS))
    trained.save(tmp_path / "hf")
    np.testing.assert_array_equal(find_tokenizer(tmp_path / "hf", config)(TEXTS), trained(TEXTS))
    (tmp_path / "empty").mkdir()
    assert find_tokenizer(tmp_path / "empty", config) is None


def test_of_another_model_or_damaged(trained, merges, tmp_path):
    trained.save(tmp_path / "hf")
    config = ClipConfig(vocab_size=49408)
    with pytest.raises(CheckpointError, match=f"has {SIZE} token ids: expected the 49408"):
        find_tokenizer(tmp_path / "hf", config)
    with pytest.raises(CheckpointError, match="expected a heading and 48894 lines"):
        find_tokenizer(merges, config)
    merges.write_bytes(merges.read_bytes()[:40])
    with pytest.raises(CheckpointError, match="cannot be read as"):
        find_tokenizer(merges, config)
    with pytest.raises(CheckpointError, match="was not found"):
        find_tokenizer(tmp_path / "nowhere", config)
