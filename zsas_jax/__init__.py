"""Zero-shot anomaly segmentation with CLIP and SAM: one XLA program per image batch.

    bundle = zsas_jax.load("tiny")
    text = zsas_jax.encode_text(bundle, ["bottle"])
    out = zsas_jax.segment(bundle.model, images, sizes, text, keys, config=bundle.config.pipeline)
    predictions = zsas_jax.predict(bundle, ["photo.jpg"], categories="bottle")

The networks alone: `zsas_jax.clip.encode_image`, `zsas_jax.clip.encode_text`,
`zsas_jax.sam.encode_image`, `zsas_jax.sam.decode_masks`.
"""

from collections.abc import Sequence

from jaxtyping import Array, Float

from zsas_jax import clip, sam, umci
from zsas_jax.compilation import CompiledSegment, compile
from zsas_jax.config import Config, PipelineConfig
from zsas_jax.errors import CheckpointError, ZsasError
from zsas_jax.model import Model
from zsas_jax.pipeline import Segmentation, segment
from zsas_jax.predict import Prediction, predict
from zsas_jax.prompting import text as _prompts
from zsas_jax.weights.checkpoint import Bundle, load, save

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "CheckpointError",
    "CompiledSegment",
    "Config",
    "Model",
    "PipelineConfig",
    "Prediction",
    "Segmentation",
    "ZsasError",
    "clip",
    "compile",
    "encode_text",
    "load",
    "predict",
    "sam",
    "save",
    "segment",
    "umci",
]


def encode_text(
    bundle: Bundle,
    categories: Sequence[str],
    normal_states: Sequence[str] | None = None,
    abnormal_states: Sequence[str] | None = None,
    templates: Sequence[str] | None = None,
) -> Float[Array, "categories 2 d"]:
    """Text embeddings [C, 2, D] of the normal and the abnormal state of each category.

    float32, L2-normalised; the prompt ensemble of `zsas_jax.prompting.text` unless states
    ("flawless {}") or templates ("a photo of a {}.") of your own are given.

    Raises:
        CheckpointError: the bundle has no CLIP, or no tokenizer.
        ConfigError: no category, or faulty states or templates.
    """
    return _prompts.encode_text(
        bundle.model.clip, bundle.tokenizer, categories, normal_states, abnormal_states, templates
    )
