"""Captions in the prompt ensemble's language."""

import numpy as np

from zsas_jax.data.phrases import ABNORMAL_STATES, NORMAL_STATES, TEMPLATES, words

# How a defect is said of an object; the rest are "{} with a <defect>".
PHRASES = {
    "scratch": ("scratched {}", "{} with a scratch", "{} with scratches"),
    "crack": ("cracked {}", "{} with a crack", "broken {}"),
    "hole": ("{} with a hole", "pierced {}"),
    "stain": ("stained {}", "{} with a stain", "dirty {}"),
    "chip": ("chipped {}", "{} with a broken edge", "broken {}"),
    "dent": ("dented {}", "{} with a dent"),
    "discoloration": ("discolored {}", "{} with discoloration", "{} with a color defect"),
    "fray": ("frayed {}", "{} with loose threads"),
    "missing_part": ("incomplete {}", "{} with a missing part"),
    "wear": ("worn {}", "{} with a worn spot"),
    "fold": ("wrinkled {}", "{} with a fold"),
    "glue": ("{} with glue on it", "{} with a smear"),
    "flaw": ("flawed {}", "{} with a flaw", "{} with an irregular spot"),
    "uncoated": ("unevenly coated {}", "{} with an uncoated area", "{} with a missing coating"),
    "burn": ("burnt {}", "{} with a burn mark", "scorched {}"),
    "ripple": ("buckled {}", "{} with ripples"),
    "wrong_part": ("{} with a wrong part", "wrongly assembled {}", "{} with a part too many"),
    "rough_patch": ("{} with a rough patch", "{} with a foreign patch"),
}
# Ways of saying "normal" and "abnormal" beside the ensemble's own, so that both ideas are learned.
GOOD_PHRASES = ("good {}", "intact {}", "clean {}", "new {}", "undamaged {}")
BAD_PHRASES = ("faulty {}", "defective {}", "imperfect {}", "broken {}", "{} with an anomaly")


def caption(rng: np.random.Generator, class_name: str, defect: str | None) -> str:
    """One caption; seven in ten name the state in the ensemble's own words.

    Half of the defective pictures' captions name the defect itself.
    """
    if defect in (None, "good"):
        states = NORMAL_STATES if rng.random() < 0.7 else GOOD_PHRASES
    elif rng.random() < 0.5:
        states = PHRASES.get(defect, ("{} with a " + words(defect),))
    else:
        states = ABNORMAL_STATES if rng.random() < 0.7 else BAD_PHRASES
    state = states[int(rng.integers(len(states)))]
    template = TEMPLATES[int(rng.integers(len(TEMPLATES)))]
    return template.format(state.format(words(class_name)))
