"""Sentences for contrastive training."""

import numpy as np

from zsas_jax.data import synthetic
from zsas_jax.parts import text as prompts
from zsas_jax.tasks import captions
from zsas_jax.training.augment import FOREIGN_PATCH


def test_sentences_of_a_class_come_normal_first():
    rng = np.random.default_rng(0)
    states = prompts.NORMAL_STATES, prompts.ABNORMAL_STATES
    for defect in ("good", "scratch", FOREIGN_PATCH):
        _, *pair = captions.for_training(rng, "gear", defect, unknown_word=0.0)
        for sentence, own, other in zip(pair, states, states[::-1], strict=True):
            phrases = [{state.format("gear") for state in each} for each in (own, other)]
            assert any(phrase in sentence for phrase in phrases[0])
            longest = max((p for p in phrases[0] | phrases[1] if p in sentence), key=len)
            assert longest in phrases[0]


def test_training_sentences_never_name_held_out_classes_or_defects():
    text = " ".join(captions.corpus(3000, seed=0))
    held_out = {*synthetic.EVAL_CLASSES, *synthetic.EVAL_DEFECTS}
    named = [name for name in held_out if name.replace("_", " ") in text]
    assert named == []
