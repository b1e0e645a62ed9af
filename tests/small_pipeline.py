"""Methods on small networks with random weights, and photos for them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

from zsas_jax.checkpoints import Compute
from zsas_jax.config import from_dict
from zsas_jax.methods import METHODS, find_method
from zsas_jax.methods.base import ALL_STAGES, Photos
from zsas_jax.networks.base import NETWORKS as REGISTERED
from zsas_jax.networks.base import create_networks
from zsas_jax.segment import segment
from zsas_jax.testing import random_weights

NETWORKS = {name: REGISTERED[name].small for name in ("clip", "sam", "umci")}
HEAD = {"views": {"image_size": [32, 40]}}
REFINERS = {
    "cascade": {
        "foreground": {"threshold": 0.3, "quantile": 0.8},
        "points": {"distance": 0.08, "ring_radius": 0.08},
        "regions": 3,
    },
    "mmr": {"boxes": 4, "points": 5, "threshold": 0.3},
}
CANVAS = (48, 56)
SIZES = np.array([[48, 40], [21, 56], [30, 33]], np.int32)
ALL = tuple(METHODS)
WITH_SAM = ("cascade", "clipsam")


class Run(NamedTuple):
    """The static arguments of `segment`."""

    method: str
    config: Any
    compute: Compute = Compute()


def small_model():
    """Random weights of a size that makes rough maps vary and masks have both signs."""
    return random_weights(lambda: create_networks(NETWORKS, rngs=nnx.Rngs(0)), scale=0.25)


def photos(seed=0, canvas=CANVAS, fill=0):
    """Three smooth photos on canvases whose rest holds `fill` or, for None, noise; and text."""
    generator = np.random.default_rng(seed)
    rest = np.random.default_rng(seed + 99).integers(0, 256, (3, *canvas, 3), np.uint8)
    images = rest if fill is None else np.full_like(rest, fill)
    for image, (height, width) in zip(images, SIZES, strict=True):
        small = generator.integers(0, 256, (6, 6, 3), np.uint8)
        image[:height, :width] = np.asarray(Image.fromarray(small).resize((width, height)))
    text = generator.normal(size=(3, 2, 12)).astype(np.float32)
    text /= np.linalg.norm(text, axis=-1, keepdims=True)
    return images, SIZES, text, np.array([5, 6, 7], np.uint32)


def method_config(name, compute=Compute(), **changes):
    """A method with settings for these networks; head__views__turns=2 changes head.views.turns."""
    method = find_method(name)
    data: dict = {"head": HEAD, "score": {"top_fraction": 0.02}}
    if method.refiner is not None:
        data["refiner"] = REFINERS[method.refiner.name]
    data = jax.tree.map(lambda leaf: leaf, data)
    for path, value in changes.items():
        place, (*parts, last) = data, path.split("__")
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = value
    return Run(name, from_dict(method.config, data), compute)


def inputs(batch):
    """(images, sizes, text, keys) as `segment` takes them."""
    images, sizes, text, keys = map(jnp.asarray, batch)
    return Photos(images, sizes, keys), text


def run(model, batch, config):
    """`segment` with all stages, as NumPy arrays."""
    found = segment(model, *inputs(batch), **config._asdict(), keep=ALL_STAGES)
    return jax.tree.map(np.asarray, found)


def rough_map(out):
    """The map of the head in what `run` gives."""
    return out.stages["rough map"].values


def run_rough(model, batch, config):
    """The head alone: no SAM to compile."""
    method = find_method(config.method)
    head = jax.jit(method.head.rough, static_argnames="config")
    return jax.tree.map(np.asarray, head(model, *inputs(batch), config=config.config.head))
