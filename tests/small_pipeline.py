"""A pipeline of small networks with random weights, and photos for it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image
from random_weights import random_weights
from small_sam import SMALL_SAM

from zsas_jax.config import Config, PipelineConfig
from zsas_jax.networks.base import Model
from zsas_jax.networks.clip import ClipConfig
from zsas_jax.networks.umci import UmciConfig
from zsas_jax.parts.rough import rough_segmentation
from zsas_jax.segment import METHODS, segment

PIPELINE = PipelineConfig(
    clip_image_size=(32, 40),
    rough_threshold=0.3,
    quantile=0.8,
    point_distance=0.08,
    ring_radius=0.08,
    regions=3,
    mmr_boxes=4,
    mmr_points=5,
    score_top_fraction=0.02,
    return_prompts=True,
    return_masks=True,
)
CONFIG = Config(
    clip=ClipConfig(
        image_size=32,
        patch_size=8,
        vision_width=16,
        vision_layers=2,
        vision_heads=2,
        context_length=8,
        vocab_size=20,
        text_width=8,
        text_layers=1,
        text_heads=1,
        embed_dim=12,
    ),
    sam=SMALL_SAM,
    umci=UmciConfig(width=16, text_dim=12, hidden_dim=8, scale_kernels=(3,), layers=(1, 2)),
    pipeline=PIPELINE,
)
CANVAS = (48, 56)
SIZES = np.array([[48, 40], [21, 56], [30, 33]], np.int32)
ALL = tuple(METHODS)
WITH_SAM = ("cascade", "clipsam")
_ROUGH = jax.jit(rough_segmentation, static_argnames=("kind", "config"))


def small_model():
    """Random weights of a size that makes rough maps vary and masks have both signs."""
    return random_weights(lambda: Model(CONFIG, rngs=nnx.Rngs(0)), scale=0.25)


def photos(seed=0, canvas=CANVAS, fill=0):
    """Three smooth photos on canvases whose rest holds `fill` or, for None, noise."""
    generator = np.random.default_rng(seed)
    rest = np.random.default_rng(seed + 99).integers(0, 256, (3, *canvas, 3), np.uint8)
    images = rest if fill is None else np.full_like(rest, fill)
    for image, (height, width) in zip(images, SIZES, strict=True):
        small = generator.integers(0, 256, (6, 6, 3), np.uint8)
        image[:height, :width] = np.asarray(Image.fromarray(small).resize((width, height)))
    text = generator.normal(size=(3, 2, 12)).astype(np.float32)
    text /= np.linalg.norm(text, axis=-1, keepdims=True)
    return images, SIZES, text, np.array([5, 6, 7], np.uint32)


def method_config(method, **changes):
    return dataclasses.replace(PIPELINE, method=method, **changes)


def run(model, batch, config):
    return jax.tree.map(np.asarray, segment(model, *map(jnp.asarray, batch), config=config))


def run_rough(model, images, sizes, text, kind, config):
    """The rough segmentation alone: no SAM to compile."""
    found = _ROUGH(model, images, sizes, text, kind=kind, config=config)
    return jax.tree.map(np.asarray, found)
