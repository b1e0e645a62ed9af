"""What tasks start from and what they save."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from zsas_jax.checkpoints import Bundle, Config, load
from zsas_jax.checkpoints.bundle import join
from zsas_jax.errors import ConfigError
from zsas_jax.methods import find_method, settings
from zsas_jax.networks import Networks
from zsas_jax.networks.base import check_networks
from zsas_jax.training.config import TrainConfig

Network = TypeVar("Network", bound=nnx.Module)


def start(config: TrainConfig, fresh_sizes: Mapping[str, Any]) -> Bundle:
    """The networks and settings of all checkpoints of `init`; later ones take precedence.

    Its config also has the sizes of networks that are to be made. Parameters are float32, however
    they are stored: bfloat16 loses an optimizer's small steps.

    Args:
        config: of the run.
        fresh_sizes: network -> its sizes in the task's config, or None.

    Raises:
        ConfigError: sizes in the config that are not those of `init`, networks that do not fit, an
            unknown method.
    """
    begun = Bundle(Networks(), {}, Config())
    for directory in config.init:
        begun = join(begun, load(directory, dtype=jnp.float32))
    sizes = dict(begun.config.networks)
    for name, asked in fresh_sizes.items():
        if asked is not None and sizes.setdefault(name, asked) != asked:
            raise ConfigError(
                f"{name} in the config has other sizes than in init ({', '.join(config.init)}): "
                "expected the same, or none in the config"
            )
    check_networks(sizes)
    method = find_method(config.method).name if config.method else begun.config.method
    return begun._replace(config=dataclasses.replace(begun.config, networks=sizes, method=method))


def sizes_of(begun: Bundle, name: str, field: str) -> Any:
    """The sizes of a network that a run starts from or makes.

    Raises:
        ConfigError: neither the config nor `init` has them.
    """
    if name not in begun.config.networks:
        raise ConfigError(
            f"{field} is empty and `init` has no {name}: expected its sizes, or a checkpoint that "
            "has it"
        )
    return begun.config.networks[name]


def require_tokenizer(begun: Bundle, name: str) -> Any:
    """The tokenizer of a network that a run starts from.

    Raises:
        ConfigError: there is none.
    """
    if begun.tokenizers.get(name) is None:
        raise ConfigError(
            f"the {name} of `init` has no tokenizer: expected one that was converted with "
            "--tokenizer"
        )
    return begun.tokenizers[name]


def fresh(create: Callable[[], Network]) -> Network:
    """A new network, its initialisers compiled as one program instead of one each."""
    return jax.jit(create)()


def without(begun: Bundle, *names: str) -> Bundle:
    """The bundle without some networks and what belongs to them, a method of theirs included."""
    model = begun.model.replace(**dict.fromkeys(names))
    tokenizers = {name: one for name, one in begun.tokenizers.items() if name not in names}
    sizes = {name: one for name, one in begun.config.networks.items() if name not in names}
    config = dataclasses.replace(begun.config, networks=sizes)
    if config.method:
        needed = find_method(config.method).networks(settings(begun.config, config.method))
        config = config if set(needed) <= set(sizes) else dataclasses.replace(config, method="")
    return Bundle(model, tokenizers, config)


def with_networks(begun: Bundle, **networks: Any) -> Bundle:
    """The bundle with trained networks in it; sizes of networks that are not there go."""
    model = begun.model.replace(**networks)
    sizes = {name: getattr(model, name).config for name in model.names}
    return Bundle(model, begun.tokenizers, dataclasses.replace(begun.config, networks=sizes))
