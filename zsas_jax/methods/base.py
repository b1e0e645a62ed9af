"""The types that methods are made of.

Most methods are a head (photo and networks -> rough map) followed by a refiner (rough map and SAM
-> map); `pair.py` makes a `Method` of them. Others register whole.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, UInt8

from zsas_jax.checkpoints.bundle import Bundle, Compute
from zsas_jax.networks import Networks
from zsas_jax.parts.text import Prompts
from zsas_jax.parts.types import (
    ALL_STAGES,
    Boxes,
    Heat,
    Maps,
    Masks,
    Photos,
    Points,
    Refined,
    Rough,
    Stage,
)

__all__ = [
    "ALL_STAGES",
    "Boxes",
    "Context",
    "Head",
    "Heat",
    "Maps",
    "Masks",
    "Method",
    "Photos",
    "Points",
    "Refined",
    "Refiner",
    "Request",
    "Rough",
    "Stage",
    "Training",
    "rows_of",
]


class Request(NamedTuple):
    """What a user may add to the names of categories."""

    prompts: Prompts = Prompts()
    """Own states, templates and words."""
    examples: Callable[[str], Sequence[Any]] | None = None
    """Category -> photos of good parts, for methods that look at some."""
    language: Callable[[str], str] | None = None
    """A language model: question -> answer."""


class Training(NamedTuple):
    """How a head's own network is trained on frozen others, by `zsas train`."""

    network: str
    """Whose parameters move."""
    config: type
    """Frozen dataclass: loss and its weights."""
    features: Callable[[Networks, UInt8[Array, "b s s 3"], Any], Any]
    """(frozen networks, photos at the head's input size, head config) -> pytree of what the
    trained network reads of photos; computed once and cached where photos do not change."""
    loss: Callable[..., tuple[Array, dict[str, Array]]]
    """(trained, networks, features, context rows, masks [b s s], head config, training config) ->
    (scalar, scalars to log)."""
    maps: Callable[..., Float[Array, "b gh gw"]]
    """(trained, networks, features, context rows, head config) -> rough map, for validation."""


class Head(NamedTuple):
    """Photo and networks -> rough map."""

    name: str
    paper: str
    config: type
    """Frozen dataclass, composed of shared parts."""
    networks: Callable[[Any], tuple[str, ...]]
    """Config -> names of the networks that it needs."""
    prepare: Callable[[Bundle, Sequence[str], Any, Request], Any]
    """(bundle, categories, config, request) -> context: any pytree of arrays whose leading axis is
    the category. On the host, once per category."""
    rough: Callable[[Networks, Photos, Any, Any], Rough]
    """(networks, photos, context rows, config) -> Rough; pure and traced."""
    training: Training | None = None
    check: Callable[[Mapping[str, Any], Any], None] = lambda networks, config: None
    """(network configs by name, config): raises ConfigError where they do not fit."""


class Refiner(NamedTuple):
    """Rough map and SAM -> map."""

    name: str
    paper: str
    config: type
    networks: Callable[[Any], tuple[str, ...]]
    refine: Callable[[Networks, Photos, Rough, Any, Compute], Refined]
    """(networks, photos, rough, config, compute) -> Refined; pure and traced."""


class Method(NamedTuple):
    """Photos in, maps out: one readable file, or a pair of head and refiner."""

    name: str
    paper: str
    config: type
    """Frozen dataclass; its defaults are the method's."""
    networks: Callable[[Any], tuple[str, ...]]
    prepare: Callable[[Bundle, Sequence[str], Any, Request], Any]
    """As of `Head`."""
    segment: Callable[[Networks, Photos, Any, Any, Compute], Maps]
    """(networks, photos, context rows, config, compute) -> Maps; pure and traced."""
    head: Head | None = None
    """Of a pair: its head, which may be trained."""
    refiner: Refiner | None = None
    check: Callable[[Mapping[str, Any], Any], None] = lambda networks, config: None


Context = Any  # a pytree of arrays [category, ...]; gathered to [photo, ...] for `segment`


def rows_of(context: Context, index: Any) -> Context:
    """The context's rows of each photo's category."""
    return jax.tree.map(lambda leaf: leaf[index], context)
