"""CLIP's tokenizer: lower-cased byte-level BPE with "</w>" ending each word.

A thin layer over the `tokenizers` library, which reads and writes the files that transformers
uses. Unlike OpenAI's Python code it neither repairs mis-encoded text (ftfy) nor HTML entities.
"""

import itertools
import json
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import tokenizers
from jaxtyping import Int
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from zsas_jax.errors import CheckpointError, ConfigError

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
# Padding comes after the end token, which both pooling rules and the causal attention stop at; its
# id must only be below the end token's. 0 is OpenAI's.
PADDING_ID = 0

_BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())  # OpenAI's order of the 256 bytes
_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
    r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


class Tokenizer:
    """Sentences -> token ids, with start and end tokens, cut and padded to `context_length`."""

    def __init__(self, backend: tokenizers.Tokenizer, context_length: int = 77):
        self.backend = backend
        self.context_length = context_length
        # The file's own padding, truncation and special tokens would come on top of ours.
        backend.no_padding()
        backend.no_truncation()
        vocab = backend.get_vocab()
        _require_special_tokens(vocab, "The tokenizer's vocabulary")
        self.start_id, self.end_id = vocab[START], vocab[END]

    @property
    def vocab_size(self) -> int:
        """Number of token ids, special tokens included."""
        return self.backend.get_vocab_size()

    def __call__(self, texts: Sequence[str]) -> Int[np.ndarray, "n context_length"]:
        """int32 [n, context_length]; longer texts are cut before their end token."""
        ids = np.full((len(texts), self.context_length), PADDING_ID, np.int32)
        encodings = self.backend.encode_batch(list(texts), add_special_tokens=False)
        for row, encoding in zip(ids, encodings, strict=True):
            sentence = [self.start_id, *encoding.ids[: self.context_length - 2], self.end_id]
            row[: len(sentence)] = sentence
        return ids

    def save(self, directory: str | os.PathLike) -> None:
        """Writes `tokenizer.json` into a directory, which is made if needed."""
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.backend.save(str(directory / "tokenizer.json"))


def load_tokenizer(directory: str | os.PathLike, context_length: int = 77) -> Tokenizer:
    """Reads `tokenizer.json`, or else `vocab.json` and `merges.txt`, from a directory.

    Raises:
        CheckpointError: neither is there, or a file is damaged.
    """
    directory = pathlib.Path(directory)
    whole, vocab, merges = (
        directory / name for name in ("tokenizer.json", "vocab.json", "merges.txt")
    )
    if whole.is_file():
        return Tokenizer(_read_tokenizer_json(whole), context_length)
    for path in (vocab, merges):
        if not path.is_file():
            raise CheckpointError(
                f"{directory} has no {path.name}, expected tokenizer.json, or vocab.json with "
                "merges.txt."
            )
    table, pairs = _read_vocab(vocab), _read_merges(merges)
    _require_special_tokens(table, vocab)
    _require_known(pairs, table, merges)
    return Tokenizer(_build(table, pairs), context_length)


def train_tokenizer(
    texts: Iterable[str], vocab_size: int = 1024, context_length: int = 77
) -> Tokenizer:
    """Learns a CLIP-style vocabulary: 256 bytes, the same ending a word, merges, special tokens.

    As in OpenAI's, any text can be encoded and the end token has the highest id. Texts with few
    distinct words give fewer merges, hence a smaller vocabulary than asked for.

    Raises:
        ConfigError: a vocabulary too small for the bytes and the special tokens.
    """
    smallest = 2 * len(_BYTES) + 2
    if vocab_size < smallest:
        raise ConfigError(f"vocab_size is {vocab_size}, expected at least {smallest}.")
    merges = _learn_merges(texts, vocab_size - smallest)
    tokens = [*_BYTES, *(byte + WORD_END for byte in _BYTES)]
    tokens += [left + right for left, right in merges] + [START, END]
    return Tokenizer(_build({token: i for i, token in enumerate(tokens)}, merges), context_length)


def _learn_merges(texts: Iterable[str], limit: int) -> list[tuple[str, str]]:
    """Byte-pair encoding: again and again the most frequent pair, seen at least twice, is merged.

    Ties go to the pair that sorts first, so that the same captions give the same file; the
    library's own trainer is not reproducible.
    """
    splitter = _pipeline(models.BPE())
    words: Counter[tuple[str, ...]] = Counter()
    for text, times in Counter(texts).items():
        clean = splitter.normalizer.normalize_str(text)
        for word, _ in splitter.pre_tokenizer.pre_tokenize_str(clean):
            words[(*word[:-1], word[-1] + WORD_END)] += times
    merges, known = [], set()
    while len(merges) < limit:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, times in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += times
        # Two pairs may spell the same token; a vocabulary holds it once.
        candidates = [
            (-n, pair) for pair, n in pairs.items() if n > 1 and "".join(pair) not in known
        ]
        if not candidates:
            break
        best = min(candidates)[1]
        merges.append(best)
        known.add("".join(best))
        merged: Counter[tuple[str, ...]] = Counter()
        for word, times in words.items():
            merged[_merge(word, best)] += times
        words = Counter({word: times for word, times in merged.items() if len(word) > 1})
    return merges


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    if pair[0] not in word or pair[1] not in word:
        return word
    result, position = [], 0
    while position < len(word):
        step = 2 if word[position : position + 2] == pair else 1
        result.append("".join(word[position : position + step]))
        position += step
    return tuple(result)


def _build(vocab: dict[str, int], merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
    model = models.BPE(vocab=vocab, merges=merges, end_of_word_suffix=WORD_END, unk_token=END)
    backend = _pipeline(model)
    backend.add_special_tokens([START, END])
    return backend


def _require_special_tokens(vocab: dict[str, int], where: str | os.PathLike) -> None:
    for token in (START, END):
        if token not in vocab:
            raise CheckpointError(f"{where} has no token {token}, which CLIP needs.")


def _pipeline(model: models.BPE) -> tokenizers.Tokenizer:
    """CLIP's text clean-up and word splitting around a BPE model."""
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    return backend


def _read_tokenizer_json(path: pathlib.Path) -> tokenizers.Tokenizer:
    try:
        text = path.read_text("utf-8")
        model = json.loads(text)["model"]
        merges = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
        vocab, pairs = dict(model["vocab"]), [(left, right) for left, right in merges]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged or no byte-pair tokenizer (reading it gave {error!r})."
        ) from error
    _require_special_tokens(vocab, path)
    _require_known(pairs, vocab, path)
    try:
        return tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the library raises bare Exceptions
        raise CheckpointError(f"{path} is damaged: {error}.") from error


def _require_known(
    merges: list[tuple[str, str]], vocab: dict[str, int], path: pathlib.Path
) -> None:
    """The library panics, past Python's exceptions, on merges that the vocabulary lacks."""
    for left, right in merges:
        for token in (left, right, left + right):
            if token not in vocab:
                raise CheckpointError(
                    f"{path} merges {left!r} and {right!r}, but the vocabulary lacks {token!r}."
                )


def _read_vocab(path: pathlib.Path) -> dict[str, int]:
    try:
        vocab = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is no readable vocabulary (JSON): {error}") from error
    if not isinstance(vocab, dict) or not all(
        type(value) is int and 0 <= value < 2**32 for value in vocab.values()
    ):
        raise CheckpointError(f"{path} is no vocabulary, expected one object of token: id.")
    if len(set(vocab.values())) < len(vocab):
        raise CheckpointError(f"{path} gives two tokens one id, expected an id for each.")
    return vocab


def _read_merges(path: pathlib.Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text("utf-8").split("\n")
    except ValueError as error:
        raise CheckpointError(f"{path} is no readable text file: {error}") from error
    merges = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#version"):
            continue
        parts = line.split(" ")
        if len(parts) != 2:
            raise CheckpointError(
                f"{path}, line {number}: found {line.strip()[:40]!r}, expected two tokens."
            )
        merges.append((parts[0], parts[1]))
    return merges
