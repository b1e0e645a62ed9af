"""The networks of one checkpoint, as one pytree."""

from typing import Any, Literal

import jax
from flax import nnx

from zsas_jax.clip.model import Clip
from zsas_jax.config import Config
from zsas_jax.errors import ConfigError
from zsas_jax.sam.model import Sam
from zsas_jax.umci.model import Umci


class Model(nnx.Module):
    """CLIP, SAM and UMCI side by side; a network that a checkpoint lacks is None.

    An `nnx.Module` is a pytree: pass it as an argument to jitted functions, never close over it.
    """

    def __init__(self, config: Config, *, rngs: nnx.Rngs):
        # nnx.data: a network that is None now may be put in later.
        self.clip = nnx.data(Clip(config.clip, rngs=rngs) if config.clip else None)
        self.sam = nnx.data(Sam(config.sam, rngs=rngs) if config.sam else None)
        self.umci = nnx.data(Umci(config.umci, rngs=rngs) if config.umci else None)

    def require(self, name: Literal["clip", "sam", "umci"], method: str) -> Any:
        """The network of that name, for the method that needs it.

        Raises:
            ConfigError: the checkpoint lacks it.
        """
        network = getattr(self, name)
        if network is None:
            raise ConfigError(
                f"method {method!r} needs the network {name!r}, which this checkpoint lacks"
            )
        return network


class OneKey(nnx.Rngs):
    """Gives every parameter the same key, for building a network of which only shapes are wanted.

    Counting keys while tracing takes most of the time of `nnx.eval_shape` on large networks.
    """

    def params(self) -> jax.Array:
        """The key that does not change."""
        return self["default"].key.get_value()


def abstract_model(config: Config) -> Model:
    """The model's shapes and dtypes, with no weights in memory."""
    return nnx.eval_shape(lambda: Model(config, rngs=OneKey(0)))
