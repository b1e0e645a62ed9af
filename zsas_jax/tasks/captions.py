"""Sentences for contrastive training, in the language of the prompt ensemble."""

import string
import zlib

import numpy as np

from zsas_jax.data import synthetic
from zsas_jax.parts import text as prompts
from zsas_jax.training.augment import FOREIGN_PATCH

# Words that stand for a part whose category is not known.
GENERIC_WORDS = ("object", "surface", "part", "texture", "material", "product", "item")


def class_words() -> dict[str, str]:
    """Training classes of the generator -> the words that prompts use for them."""
    return {name: prompts.words(name) for name in synthetic.TRAIN_CLASSES}


def for_training(
    rng: np.random.Generator, class_name: str, defect: str, unknown_word: float
) -> list[str]:
    """Three sentences: a caption of the picture, and its category in normal and abnormal state.

    With probability `unknown_word` the last two name a generic or made-up category instead, so
    that the state words carry the meaning where the category was never seen.
    """
    words = prompts.words(class_name)
    if defect == FOREIGN_PATCH:
        caption = _compose(rng, prompts.ABNORMAL_STATES, words)
    else:
        caption = synthetic.caption(rng, class_name, None if defect == "good" else defect)
    if rng.random() < unknown_word:
        words = _any_word(rng)
    pair = [
        _compose(rng, states, words) for states in (prompts.NORMAL_STATES, prompts.ABNORMAL_STATES)
    ]
    return [caption, *pair]


def sentence_pairs(
    rng: np.random.Generator, count: int, unknown_word: float
) -> tuple[list[tuple[str, str]], np.ndarray]:
    """Pairs of sentences of equal meaning, and numbers [count] that equal meanings share."""
    pairs, groups = [], []
    for _ in range(count):
        name = synthetic.TRAIN_CLASSES[rng.integers(len(synthetic.TRAIN_CLASSES))]
        words = _any_word(rng) if rng.random() < unknown_word else prompts.words(name)
        states = (prompts.NORMAL_STATES, prompts.ABNORMAL_STATES)[rng.integers(2)]
        pairs.append((_compose(rng, states, words), _compose(rng, states, words)))
        groups.append(group(words, "good" if states is prompts.NORMAL_STATES else "bad"))
    return pairs, np.array(groups, np.int32)


def group(class_name: str, defect: str) -> int:
    """A number shared by captions that mean the same: class and defect type."""
    return zlib.crc32(f"{class_name}/{defect}".encode()) & 0x7FFFFFFF


def corpus(count: int, seed: int) -> list[str]:
    """Captions to train the tokenizer on."""
    rng = np.random.default_rng(seed)
    sentences = []
    for number in range(count):
        class_name = synthetic.TRAIN_CLASSES[number % len(synthetic.TRAIN_CLASSES)]
        defect = str(rng.choice(["good", *synthetic.TRAIN_DEFECTS]))
        sentences += for_training(rng, class_name, defect, 0.3)
    return sentences


def _compose(rng: np.random.Generator, states: tuple[str, ...], words: str) -> str:
    state = states[rng.integers(len(states))].format(words)
    return prompts.TEMPLATES[rng.integers(len(prompts.TEMPLATES))].format(state)


def _any_word(rng: np.random.Generator) -> str:
    if rng.random() < 0.5:
        return str(rng.choice(GENERIC_WORDS))
    letters = rng.choice(list(string.ascii_lowercase), rng.integers(3, 9))
    return "".join(letters)
