"""The tokenizer's rows, its training and damaged files."""

import numpy as np
import pytest
import small_tokenizer
from small_tokenizer import CAPTIONS, HARD

from zsas_jax.errors import CheckpointError, ConfigError
from zsas_jax.networks.clip import load_tokenizer, train_tokenizer

SPECIAL = ', "<|startoftext|>": 7, "<|endoftext|>": 8'


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer.create()


def test_rows_have_start_end_and_padding(tokenizer):
    ids = tokenizer(["a photo of a metal nut", "scratch " * 40, ""])
    assert ids.shape == (3, 20)
    assert ids.dtype == np.int32
    assert (ids[:, 0] == tokenizer.start_id).all()
    assert ids[0].argmax() == 7
    # Cut, but the end token is kept.
    assert ids[1, -1] == tokenizer.end_id
    assert (ids[1, 1:-1] < tokenizer.start_id).all()
    assert ids[2].tolist() == [tokenizer.start_id, tokenizer.end_id] + [0] * 18
    # Both pooling rules find the same token: the end has the highest id and comes once.
    assert tokenizer.end_id == tokenizer.vocab_size - 1 == ids.max()
    assert ((ids == tokenizer.end_id).sum(1) == 1).all()


def test_case_and_spaces_do_not_matter_and_known_words_are_one_token(tokenizer):
    one, two = tokenizer(["a metal nut", " A  METAL\nnut "])
    np.testing.assert_array_equal(one, two)
    assert (one != 0).sum() == 5


def test_unseen_characters_are_encoded_as_bytes(tokenizer):
    rows = tokenizer(["磁", "瓶", "🙂"])
    assert len({tuple(row) for row in rows}) == 3
    assert (rows[:, 1] < 512).all()


def test_saved_and_loaded_tokenizers_agree(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "new" / "folder")
    again = load_tokenizer(tmp_path / "new" / "folder", context_length=20)
    np.testing.assert_array_equal(tokenizer(HARD), again(HARD))


def test_training_is_reproducible_and_bounded():
    one, two = (train_tokenizer(CAPTIONS, 560, 20) for _ in range(2))
    assert one.backend.to_str() == two.backend.to_str()
    assert one.vocab_size == 560
    assert train_tokenizer(["x"], 5000).vocab_size == 514
    with pytest.raises(ConfigError, match="at least 514"):
        train_tokenizer(CAPTIONS, 100)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({}, "no vocab.json"),
        ({"vocab.json": "{}"}, "no merges.txt"),
        ({"tokenizer.json": ""}, "tokenizer.json"),
        ({"tokenizer.json": '{"version": "1.0"'}, "tokenizer.json"),
        ({"vocab.json": "{", "merges.txt": ""}, "vocab.json"),
        ({"vocab.json": "[1]", "merges.txt": ""}, "vocab.json"),
        ({"vocab.json": "{}", "merges.txt": "a b c"}, "merges.txt, line 1"),
        ({"vocab.json": f'{{"a": 0, "b": 1{SPECIAL}}}', "merges.txt": "a b"}, "lacks 'ab'"),
        (
            {"tokenizer.json": f'{{"model": {{"vocab": {{"a": 0{SPECIAL}}}, "merges": ["a b"]}}}}'},
            "lacks 'b'",
        ),
        ({"tokenizer.json": '{"model": {"vocab": {"a": 0}, "merges": []}}'}, "tokenizer.json"),
        ({"vocab.json": '{"a": 0, "b": 1}', "merges.txt": ""}, "no token <|startoftext|>"),
    ],
)
def test_missing_or_damaged_files_are_named(files, named, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CheckpointError) as caught:
        load_tokenizer(tmp_path)
    assert named in str(caught.value)
