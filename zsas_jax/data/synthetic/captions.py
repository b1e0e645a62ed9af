"""Captions in the prompt ensemble's language, and the text the tokenizer is trained on."""

from collections.abc import Iterator

import numpy as np

from zsas_jax.data.synthetic.splits import TRAIN_DEFECTS
from zsas_jax.prompting.text import ABNORMAL_STATES, NORMAL_STATES, TEMPLATES

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


def words(name: str) -> str:
    """The words of a class or defect name."""
    return name.replace("_", " ")


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


def all_captions_vocabulary() -> Iterator[str]:
    """Text for the byte-pair tokenizer: every template, state, class, defect and common words."""
    from zsas_jax.data.synthetic.classes import CLASSES

    names = [words(name) for split in CLASSES.values() for name in split]
    names += ["object", "surface", "texture", "part", "product", "material", *COMMON.split()]
    states = [*NORMAL_STATES, *ABNORMAL_STATES, *GOOD_PHRASES, *BAD_PHRASES]
    states += [phrase for defect in TRAIN_DEFECTS for phrase in PHRASES[defect]]
    for k, name in enumerate(names):
        for j, state in enumerate(states):
            yield TEMPLATES[(k + j) % len(TEMPLATES)].format(state.format(name))
    for template in TEMPLATES:
        for state in states:
            yield template.format(state.format("object"))


COMMON = """
bottle cable capsule carpet grid hazelnut leather metal nut pill screw tile toothbrush transistor
wood zipper candle cashew macaroni board circuit magnetic tube bracket connector plate steel glass
rubber foam film fiber thread yarn cotton silk wheel bearing spring bolt pipe valve switch button
battery lens label print logo letter line stripe band spot speck dust rust mold bubble blowhole
pore pit burr bend twist tear rip gap groove edge corner border seam stitch weave pattern color
red green blue yellow orange brown black white gray dark bright light small large round square
thin thick rough smooth soft hard broken bent cut torn burnt missing loose wrong contaminated
corroded uneven inspection anomaly detection industrial image picture view close
"""
