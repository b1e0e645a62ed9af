"""A tokenizer of a few captions, and texts that are hard to cut."""

from zsas_jax.networks.clip import train_tokenizer

CAPTIONS = [
    "a photo of a metal nut.",
    "a photo of the damaged metal nut.",
    "a close-up photo of a carpet with a scratch.",
    "there is a flawless magnetic tile in the scene.",
    "this is one broken bottle in the scene, isn't it?",
] * 3
HARD = [
    "A Photo   of a\tMETAL nut!!",
    "it's 42 bottles; they've 3.5% naïve café — 磁 🙂",
    "",
    "<b>under_score-d</b>  metal_nut",
    "scratch " * 40,
]


def create():
    return train_tokenizer(CAPTIONS, vocab_size=600, context_length=20)
