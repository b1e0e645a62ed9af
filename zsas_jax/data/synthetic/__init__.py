"""The procedural generator: surfaces and objects with exact defect masks, captions and segments.

`render` draws one picture; `SyntheticSource` is the evaluation set, `TrainingSource` feeds
training. Classes, defects and parameter bands of the two splits never meet.
"""

from zsas_jax.data.synthetic.captions import caption
from zsas_jax.data.synthetic.classes import EVAL, TRAIN
from zsas_jax.data.synthetic.render import Sample, render
from zsas_jax.data.synthetic.source import SyntheticSource, TrainingSource
from zsas_jax.data.synthetic.splits import EVAL_DEFECTS, RANGES, TRAIN_DEFECTS, VERSION

TRAIN_CLASSES = tuple(TRAIN)
EVAL_CLASSES = tuple(EVAL)

__all__ = [
    "EVAL_CLASSES",
    "EVAL_DEFECTS",
    "RANGES",
    "TRAIN_CLASSES",
    "TRAIN_DEFECTS",
    "VERSION",
    "Sample",
    "SyntheticSource",
    "TrainingSource",
    "caption",
    "render",
]
