"""What a network is to the rest of the package, and the networks of one checkpoint as one pytree.

A network is a folder of `networks/`: config, modules, layouts of its published weights, hub names
and, where it reads text, a tokenizer; one `Network` describes it, one line in `networks/__init__`
registers it. Everything above knows networks through that registry alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from flax import nnx

from zsas_jax.convert.files import Folder, Weights
from zsas_jax.convert.rules import Rule
from zsas_jax.errors import ConfigError


class Layout(NamedTuple):
    """One way to name a network's published weights."""

    name: str
    prefixes: tuple[str, ...]
    """Of names that this layout alone has."""
    rules: Callable[[Any], Sequence[Rule]]
    """The network's config -> rules that lead from our names to the layout's."""
    config: Callable[[Weights, Folder, Mapping[str, Any]], Any]
    """The network's config from the weights' shapes, the files beside them and the user's options
    (see `Network.options`). Raises WeightConversionError where it cannot be told."""
    ignored: Mapping[str, str] = {}
    """Regular expression of source keys that are not needed -> why."""
    check: Callable[[Mapping[str, Any]], None] = lambda tensors: None
    """Raises WeightConversionError for numbers that contradict each other."""


class HubModel(NamedTuple):
    """One published checkpoint on the Hugging Face hub."""

    weights: str
    """File."""
    config: str
    """File."""
    revision: str | None = None
    """Commit; None: the newest, recorded in provenance.json."""
    sha256: str | None = None
    """Of the weights; None: compared with what the hub states."""


class TokenizerFiles(NamedTuple):
    """How a network's tokenizer is found beside published weights, saved and loaded."""

    find: Callable[..., Any]
    """(directory or file, network config) -> tokenizer, or None where a directory has none."""
    load: Callable[..., Any]
    """(directory, network config) -> tokenizer that its method `save(directory)` wrote there."""
    names: tuple[tuple[str, ...], ...]
    """Sets of files that make a tokenizer, for downloads: any one of them."""
    train: Callable[..., Any] | None = None
    """(sentences, network config) -> a tokenizer of the config's vocabulary."""


class Option(NamedTuple):
    """What a user may have to say of a network's weights because no file tells it."""

    help: str
    choices: tuple[str, ...]


class Network(NamedTuple):
    """A network by its name: the attribute of `Networks`, the flag of `zsas weights convert`."""

    name: str
    config: type
    """Frozen dataclass of JSON-able fields."""
    module: Callable[..., nnx.Module]
    """module(config, *, rngs, param_dtype)."""
    layouts: tuple[Layout, ...] = ()
    presets: Mapping[str, Any] = {}
    """Name -> config of published sizes."""
    hub: Mapping[str, HubModel] = {}
    """Hub name -> what is published there."""
    tokenizer: TokenizerFiles | None = None
    options: Mapping[str, Option] = {}
    """Name -> option of `zsas weights convert`, as --NETWORK-OPTION."""
    small: Any = None
    """A config of a few thousand parameters that fits the other networks' small ones, for tests."""
    check: Callable[[Any, Mapping[str, Any]], None] = lambda config, others: None
    """(own config, configs of all networks of the checkpoint by name): raises ConfigError where
    they do not fit each other."""


class OneKey(nnx.Rngs):
    """Gives every parameter the same key, for building a network of which only shapes are wanted.

    Counting keys while tracing takes most of the time of `nnx.eval_shape` on large networks.
    """

    def params(self) -> jax.Array:
        """The key that does not change."""
        return self["default"].key.get_value()


class Networks(nnx.Module):
    """The networks of a checkpoint, each an attribute of its registered name.

    An `nnx.Module` is a pytree: pass it as an argument to jitted functions, never close over it.
    """

    def __init__(self, **networks: nnx.Module):
        for name, network in networks.items():
            setattr(self, name, nnx.data(network))

    if TYPE_CHECKING:  # Attributes are the registered names.

        def __getattr__(self, name: str) -> Any: ...

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the networks that are there."""
        return tuple(name for name, value in vars(self).items() if isinstance(value, nnx.Module))

    def has(self, name: str) -> bool:
        """Whether there is a network of that name."""
        return name in self.names

    def require(self, name: str, whose: str) -> Any:
        """The network of that name, for `whose` need ("method 'cascade'").

        Raises:
            ConfigError: the checkpoint lacks it.
        """
        if not self.has(name):
            raise ConfigError(f"{whose} needs the network {name!r}, which this checkpoint lacks")
        return getattr(self, name)

    def replace(self, **networks: nnx.Module | None) -> "Networks":
        """The same networks with some of them exchanged, added, or (None) left out."""
        every = {name: getattr(self, name) for name in self.names} | networks
        return Networks(**{name: found for name, found in every.items() if found is not None})


NETWORKS: dict[str, Network] = {}


def register(network: Network) -> Network:
    """Makes a network known to loading, saving, converting and training.

    Raises:
        ConfigError: its name is taken by another network.
    """
    if NETWORKS.get(network.name, network) != network:
        raise ConfigError(f"there is a network {network.name!r} already: expected another name")
    NETWORKS[network.name] = network
    return network


def network_of(config: Any) -> Network:
    """The registered network whose config this is."""
    return next(network for network in NETWORKS.values() if type(config) is network.config)


def check_networks(configs: Mapping[str, Any]) -> None:
    """Refuses networks that do not fit each other.

    Raises:
        ConfigError: what `Network.check` says.
    """
    for name, config in configs.items():
        NETWORKS[name].check(config, configs)


def abstract_network(network: Network, config: Any) -> Any:
    """Shapes and dtypes of one network, with no weights in memory."""
    return nnx.eval_shape(lambda: network.module(config, rngs=OneKey(0)))


def abstract_networks(configs: Mapping[str, Any]) -> Networks:
    """Shapes and dtypes of several networks, with no weights in memory."""
    check_networks(configs)
    return Networks(
        **{name: abstract_network(NETWORKS[name], config) for name, config in configs.items()}
    )


def create_networks(configs: Mapping[str, Any], *, rngs: nnx.Rngs) -> Networks:
    """Fresh networks with random parameters."""
    check_networks(configs)
    return Networks(
        **{name: NETWORKS[name].module(config, rngs=rngs) for name, config in configs.items()}
    )
