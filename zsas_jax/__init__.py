"""Zero-shot anomaly segmentation with CLIP and SAM: one XLA program per image batch.

    bundle = zsas_jax.load("tiny")
    predictions = zsas_jax.predict(bundle, ["photo.jpg"], categories="bottle")

One level down, the pure jitted function on a batch of raw pixels:

    config = zsas_jax.settings(bundle.config, "cascade")
    context = zsas_jax.prepare(bundle, ["bottle"], "cascade", config)
    photos = zsas_jax.Photos(images, sizes, keys)
    rows = zsas_jax.rows_of(context, labels)
    maps = zsas_jax.segment(bundle.model, photos, rows, method="cascade", config=config)

The networks alone: `zsas_jax.networks.clip.encode_image`, `zsas_jax.networks.clip.encode_text`,
`zsas_jax.networks.sam.encode_image`, `zsas_jax.networks.sam.decode_masks`.
"""

from importlib import metadata

from zsas_jax.checkpoints import Bundle, Compute, Config, Verdict, load, save
from zsas_jax.errors import CheckpointError, ConfigError, DatasetError, ImageError, ZsasError
from zsas_jax.evaluation.run import evaluate
from zsas_jax.methods import find_method, method_names, register, settings
from zsas_jax.methods.base import Maps, Photos, Request, rows_of
from zsas_jax.networks import Networks
from zsas_jax.parts.text import Prompts
from zsas_jax.predict import Prediction, compile, predict, prepare
from zsas_jax.segment import segment

__version__ = metadata.version("zsas_jax")

__all__ = [
    "Bundle",
    "CheckpointError",
    "Compute",
    "Config",
    "ConfigError",
    "DatasetError",
    "ImageError",
    "Maps",
    "Networks",
    "Photos",
    "Prediction",
    "Prompts",
    "Request",
    "Verdict",
    "ZsasError",
    "compile",
    "evaluate",
    "find_method",
    "load",
    "method_names",
    "predict",
    "prepare",
    "register",
    "rows_of",
    "save",
    "segment",
    "settings",
]
