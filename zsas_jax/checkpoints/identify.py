"""Which network weights are, in which published layout, and how large."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from zsas_jax.convert.described import UnknownSizes
from zsas_jax.convert.files import PREFERENCE, Folder, Weights, describe_names
from zsas_jax.convert.rules import Track, convert, count_problems, silent
from zsas_jax.errors import WeightConversionError
from zsas_jax.networks import NETWORKS, Network
from zsas_jax.networks.base import Layout, abstract_network
from zsas_jax.ops.layers import parameter_dtype

Options = Mapping[str, Mapping[str, Any]]  # network -> option -> value


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights of a known layout and size, not yet read."""

    weights: Weights
    folder: Folder
    network: Network
    layout: Layout
    config: Any

    def read(self, dtype: Any = jnp.float32, track: Track = silent) -> Any:
        """The network, its parameters in `dtype`.

        Raises:
            WeightConversionError: all that is missing, unexpected, mis-shaped or not finite.
        """
        target = with_param_dtype(abstract_network(self.network, self.config), dtype)
        rules = self.layout.rules(self.config)
        with self._named():
            self.layout.check(self.weights.tensors)
            return convert(target, self.weights.tensors, rules, self.layout.ignored, track)

    def problems(self) -> int:
        """How many names and shapes do not fit; no number is read."""
        return _problems(self.weights, self.network, self.layout, self.config)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Says in a conversion error which file it is about."""
        try:
            yield
        except WeightConversionError as error:
            raise WeightConversionError(f"{self.weights.files[0]}: {error}") from error


def identify(
    candidates: Sequence[Weights], folder: Folder, options: Options | None = None
) -> Source:
    """What the candidates of one path are, and how large; several must be the same model.

    Args:
        candidates: what `open_weights` found, the preferred one first.
        folder: the config files beside them.
        options: what the user says of a network that no file tells, see `Network.options`.

    Raises:
        WeightConversionError: no known network, two models, or sizes that cannot be told.
    """
    found = []
    for weights in candidates:
        network, layout = _layout(weights)
        config = _config(weights, network, layout, folder, (options or {}).get(network.name, {}))
        found.append(Source(weights, folder, network, layout, config))
    first = found[0]
    for other in found[1:]:
        # Only the well-known names are the same weights in another format.
        known = {_whole_name(source.weights.files[0]) for source in (first, other)} <= {*PREFERENCE}
        if not known or _shapes(other) != _shapes(first):
            names = " and ".join(source.weights.files[0].name for source in (first, other))
            raise WeightConversionError(
                f"{folder.path} holds two models ({names}): give the file of one of them"
            )
    return first


def with_param_dtype(network: Any, dtype: Any) -> Any:
    """An abstract network whose parameters have `dtype`, scalars at least float32; buffers keep
    theirs.
    """
    graph, parameters, others = nnx.split(network, nnx.Param, ...)
    parameters = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, parameter_dtype(leaf.shape, dtype)),
        parameters,
    )
    return nnx.merge(graph, parameters, others)


def _layout(weights: Weights) -> tuple[Network, Layout]:
    names = list(weights.tensors)
    known = [(network, layout) for network in NETWORKS.values() for layout in network.layouts]

    def score(pair: tuple[Network, Layout]) -> int:
        return sum(name.startswith(pair[1].prefixes) for name in names)

    best = max(known, key=score)
    if not score(best):
        kinds = ", ".join(dict.fromkeys(network.name for network, _ in known))
        raise WeightConversionError(
            f"{weights.files[0]} holds no network that is known ({kinds}): its {len(names)} names "
            f"are {describe_names(names)}"
        )
    return best


def _config(
    weights: Weights,
    network: Network,
    layout: Layout,
    folder: Folder,
    options: Mapping[str, Any],
) -> Any:
    """What the layout tells; of damaged weights the nearest published size, for a better error."""
    config, reason = None, ""
    try:
        config = layout.config(weights, folder, options)
    except UnknownSizes as error:
        reason = str(error)
    wrong = None if config is None else _problems(weights, network, layout, config)
    if wrong == 0:
        return config
    counted = {
        name: _problems(weights, network, layout, preset)
        for name, preset in network.presets.items()
    }
    nearest = min(counted, key=counted.__getitem__, default=None)
    if wrong is not None and (nearest is None or wrong <= counted[nearest]):
        return config
    if nearest is None or (wrong is None and counted[nearest] > len(weights.tensors) // 2):
        raise WeightConversionError(
            f"the sizes of the {network.name} in {weights.files[0]} cannot be told: {reason}"
        )
    return network.presets[nearest]


def _problems(weights: Weights, network: Network, layout: Layout, config: Any) -> int:
    target = _target(network.name, config)
    return count_problems(target, weights.tensors, layout.rules(config), layout.ignored)


@functools.lru_cache(maxsize=16)
def _target(name: str, config: Any) -> Any:
    """Shapes that are only looked at; tracing a large network takes seconds."""
    return abstract_network(NETWORKS[name], config)


def _whole_name(file: pathlib.Path) -> str:
    return file.name.removesuffix(".index.json")


def _shapes(source: Source) -> Any:
    """What must agree between two files of one directory, whatever only a config tells."""
    target = _target(source.network.name, source.config)
    return source.network.name, jax.tree.map(lambda leaf: leaf.shape, jax.tree.leaves(target))
