"""What is measured: networks of published sizes with random weights, or of a checkpoint."""

import dataclasses
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from flax import nnx
from jaxtyping import UInt8

from zsas_jax import methods
from zsas_jax.checkpoints import Bundle, Config, load
from zsas_jax.config import suggestion
from zsas_jax.data.synthetic import SyntheticSource
from zsas_jax.errors import ConfigError
from zsas_jax.methods.base import Context, Photos, Request, rows_of
from zsas_jax.networks import NETWORKS, Network, clip, create_networks, sam, umci
from zsas_jax.networks.base import OneKey
from zsas_jax.testing import random_weights

# For a CLIP whose text tower takes no part: the smallest one does.
LITTLE_TEXT = {"text_layers": 1, "text_width": 12, "text_heads": 1, "vocab_size": 2}
_LARGE_CLIP = dataclasses.replace(clip.PRESETS["ViT-L-14-336"], **LITTLE_TEXT)


class Setup(NamedTuple):
    """A method with its networks, ready to run."""

    bundle: Bundle
    method: str
    config: Any
    """The method's."""
    context: Context
    """Of one category."""
    side: int
    """Of photos that suit it, pixels."""

    def inputs(self, images: np.ndarray) -> tuple[Photos, Context]:
        """A batch of photos of full size, and its rows of the context."""
        count = len(images)
        sizes = np.array([images.shape[1:3]] * count, np.int32)
        photos = Photos(images, sizes, np.arange(count, dtype=np.uint32))  # pyright: ignore
        return photos, rows_of(self.context, np.zeros(count, np.int32))


def load_setup(model: str, networks: Collection[str] | None = None) -> Setup:
    """The own method of a checkpoint; or that of random weights of published sizes.

    Args:
        model: a checkpoint's directory or name, or a SAM's preset: CLIP ViT-L/14@336 at 518
            pixels, UMCI and that SAM.
        networks: names of those that are needed; None: all.
    """
    if model not in sam.PRESETS:
        bundle = load(model, networks=networks)
        method = methods.default_method(bundle.config)
        config = methods.settings(bundle.config, method)
        found = methods.find_method(method)
        context = found.prepare(bundle, ["object"], config, Request())
        return Setup(bundle, method, config, context, 256)
    every = {
        clip.NETWORK.name: _LARGE_CLIP,
        umci.NETWORK.name: umci.UmciConfig(),
        sam.NETWORK.name: sam.PRESETS[model],
    }
    sizes = {name: size for name, size in every.items() if networks is None or name in networks}
    weights = random_weights(lambda: create_networks(sizes, rngs=OneKey(0)), scale=0.02)
    bundle = Bundle(weights, {}, Config(sizes))
    method = methods.default_method(bundle.config)
    text = np.random.default_rng(5).standard_normal((1, 2, _LARGE_CLIP.embed_dim), np.float32)
    text /= np.linalg.norm(text, axis=-1, keepdims=True)
    return Setup(bundle, method, methods.settings(bundle.config, method), text, 1024)


def find_sizes(name: str) -> tuple[Network, Any]:
    """A network and its config, by a preset's name or, for the small one, by the network's own.

    Raises:
        ConfigError: an unknown name.
    """
    known = {network.name: (network, network.small) for network in NETWORKS.values()}
    for network in NETWORKS.values():
        known |= {preset: (network, config) for preset, config in network.presets.items()}
    if name not in known:
        raise ConfigError(f"model is {name!r}{suggestion(name, known)}")
    return known[name]


def random_network(network: Network, config: Any) -> nnx.Module:
    """Speed does not depend on what was learnt."""
    return random_weights(lambda: network.module(config, rngs=OneKey(0)), scale=0.02)


def pictures(count: int, side: int) -> UInt8[np.ndarray, "count side side 3"]:
    """Pictures of the generator's held-out classes, half of them defective."""
    source = SyntheticSource(per_class=2, anomaly_fraction=0.5, size=side)
    order = np.random.default_rng(0).permutation(len(source))
    return np.stack([source[int(order[i % len(order)])]["image"] for i in range(count)])
