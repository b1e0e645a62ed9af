"""Where a converted CLIP's tokenizer comes from: transformers' files or OpenAI's merges."""

import gzip
import json
import pathlib
import tempfile

from tokenizers import pre_tokenizers

from zsas_jax.errors import CheckpointError
from zsas_jax.networks.base import TokenizerFiles
from zsas_jax.networks.clip.config import ClipConfig
from zsas_jax.networks.clip.tokenizer import (
    END,
    START,
    WORD_END,
    Tokenizer,
    load_tokenizer,
    train_tokenizer,
)

# The file that the packages `clip` and `open_clip` carry.
MERGES = "bpe_simple_vocab_16e6.txt"
MERGES_NAMES = (MERGES + ".gz", MERGES)
EXPECTED = f"a directory with tokenizer.json or vocab.json and merges.txt, or {MERGES}.gz"


def find_tokenizer(place: pathlib.Path, config: ClipConfig) -> Tokenizer | None:
    """The tokenizer in a directory or file, None where a directory has none.

    Raises:
        CheckpointError: the files are damaged, or of another vocabulary than the network's.
    """
    tokenizer = _read(place, config)
    if tokenizer is not None and tokenizer.vocab_size != config.vocab_size:
        raise CheckpointError(
            f"the tokenizer in {place} has {tokenizer.vocab_size} token ids: expected the "
            f"{config.vocab_size} of this CLIP"
        )
    return tokenizer


def _read(place: pathlib.Path, config: ClipConfig) -> Tokenizer | None:
    if not place.exists():
        raise CheckpointError(f"tokenizer {place} was not found: expected {EXPECTED}")
    if place.is_file():
        if place.name == "tokenizer.json":
            return load_tokenizer(place.parent, config.context_length)
        return read_merges(place, config.vocab_size, config.context_length)
    names = {file.name for file in place.iterdir()}
    if "tokenizer.json" in names or {"vocab.json", "merges.txt"} <= names:
        return load_tokenizer(place, config.context_length)
    for name in MERGES_NAMES:
        if name in names:
            return read_merges(place / name, config.vocab_size, config.context_length)
    return None


def read_merges(file: pathlib.Path, vocab_size: int, context_length: int = 77) -> Tokenizer:
    """OpenAI's vocabulary from its list of merges (`bpe_simple_vocab_16e6.txt`, gzipped or not).

    As in OpenAI's code: 256 bytes, the same ending a word, one token per merge, start and end; the
    first line is a heading, and merges beyond `vocab_size` are not used.

    Raises:
        CheckpointError: not that file, or fewer merges than the vocabulary needs.
    """
    try:
        data = file.read_bytes()
        text = (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} cannot be read as {MERGES}: {error}") from error
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    wanted = vocab_size - 2 * len(letters) - 2
    lines = text.split("\n")[1 : wanted + 1]
    if len(lines) != wanted or any(len(line.split()) != 2 for line in lines):
        raise CheckpointError(
            f"{file} is not {MERGES}: expected a heading and {wanted} lines of two tokens"
        )
    tokens = [*letters, *(letter + WORD_END for letter in letters)]
    tokens += ["".join(line.split()) for line in lines] + [START, END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    with tempfile.TemporaryDirectory() as directory:
        (pathlib.Path(directory) / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
        merges = "\n".join(["#version: 0.2", *lines])
        (pathlib.Path(directory) / "merges.txt").write_text(merges, "utf-8")
        return load_tokenizer(directory, context_length)


TOKENIZER = TokenizerFiles(
    find=find_tokenizer,
    load=lambda directory, config: load_tokenizer(directory, config.context_length),
    names=(("tokenizer.json",), ("vocab.json", "merges.txt"), *((name,) for name in MERGES_NAMES)),
    train=lambda sentences, config: train_tokenizer(
        sentences, config.vocab_size, config.context_length
    ),
)
