"""The tokenizer equals transformers' on the same files."""

import json

import numpy as np
import pytest
import small_tokenizer
import transformers
from small_tokenizer import HARD

from zsas_jax.networks.clip import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer.create()


def write_vocab_and_merges(tokenizer, directory):
    model = json.loads(tokenizer.backend.to_str())["model"]
    directory.mkdir(exist_ok=True)
    (directory / "vocab.json").write_text(json.dumps(model["vocab"]), "utf-8")
    lines = ["#version: 0.2", *(m if isinstance(m, str) else " ".join(m) for m in model["merges"])]
    (directory / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")


def test_equals_transformers_on_the_same_files(tokenizer, tmp_path):
    write_vocab_and_merges(tokenizer, tmp_path)
    theirs = transformers.CLIPTokenizer.from_pretrained(str(tmp_path), model_max_length=20)
    ours = load_tokenizer(tmp_path, context_length=20)
    for text, row in zip(HARD, ours(HARD), strict=True):
        expected = theirs(text, truncation=True, max_length=20)["input_ids"]
        assert row[: len(expected)].tolist() == expected
        assert not row[len(expected) :].any()
    # The file that transformers writes has its own special tokens, padding and truncation.
    theirs.save_pretrained(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "tokenizer.json").is_file()
    np.testing.assert_array_equal(load_tokenizer(tmp_path / "saved", 20)(HARD), ours(HARD))
