"""What tasks start from and what they save."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8

from zsas_jax.checkpoints.checkpoint import Bundle, load
from zsas_jax.config import Config
from zsas_jax.errors import ConfigError
from zsas_jax.networks.base import Model
from zsas_jax.networks.clip.config import ClipConfig
from zsas_jax.networks.clip.tokenizer import Tokenizer
from zsas_jax.training.config import TrainConfig

Network = TypeVar("Network", bound=nnx.Module)


def start(config: TrainConfig) -> Bundle:
    """The networks of all checkpoints of `init`, and the sizes of these and of the fresh ones.

    Parameters are float32, however they are stored: bfloat16 loses an optimizer's small steps.

    Raises:
        ConfigError: sizes in the config that are not those of `init`.
    """
    model, tokenizer, parts = Model(Config(), rngs=nnx.Rngs(0)), None, {}
    for directory in config.init:
        bundle = load(pathlib.Path(directory), dtype=jnp.float32)
        if bundle.model.clip is not None:
            tokenizer = bundle.tokenizer  # Another CLIP's vocabulary has other numbers.
        for name in ("clip", "sam", "umci"):
            if getattr(bundle.model, name) is not None:
                setattr(model, name, getattr(bundle.model, name))
                parts[name] = getattr(bundle.config, name)
    for name in ("clip", "sam", "umci"):
        asked = getattr(config, name)
        if asked is not None and parts.setdefault(name, asked) != asked:
            raise ConfigError(
                f"{name} in the config has other sizes than in init ({', '.join(config.init)}): "
                "expected the same, or none in the config"
            )
    return Bundle(model, tokenizer, Config(**parts, pipeline=config.pipeline))


def require_tokenizer(tokenizer: Tokenizer | None) -> Tokenizer:
    """The tokenizer of the CLIP that a run starts from.

    Raises:
        ConfigError: there is none.
    """
    if tokenizer is None:
        raise ConfigError(
            "the CLIP of `init` has no tokenizer: expected one that was converted with --tokenizer"
        )
    return tokenizer


def fresh(create: Callable[[], Network]) -> Network:
    """A new network, its initialisers compiled as one program instead of one each."""
    return jax.jit(create)()


def bundle(model: Model, tokenizer: Tokenizer | None, parts: Config) -> Bundle:
    """What is saved: the sizes of networks that are not there go."""
    absent = {name: None for name in ("clip", "sam", "umci") if getattr(model, name) is None}
    return Bundle(model, tokenizer, dataclasses.replace(parts, **absent))


def normalize(
    images: UInt8[Array, "b h w 3"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "b h w 3"]:
    """Levels 0..255 to normalised pixels; `mean` and `std` are in the same levels."""
    return (images.astype(jnp.float32) - jnp.asarray(mean)) / jnp.asarray(std)


def clip_statistics(config: ClipConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """CLIP's mean and standard deviation, stated for [0, 1], in levels of 0..255."""
    return (
        tuple(255 * value for value in config.pixel_mean),
        tuple(255 * value for value in config.pixel_std),
    )


def mean_pool(x: Float[Array, "b h w"], factor: int) -> Float[Array, "b i j"]:
    """Means of square blocks."""
    b, h, w = x.shape
    return x.reshape(b, h // factor, factor, w // factor, factor).mean((2, 4))
