"""The layouts in which CLIP and SAM are published, and what sizes weights have.

layout        network  names of
transformers  clip     CLIPModel
openai        clip     OpenAI's CLIP and open_clip
open_clip     clip     open_clip's models with a text tower of its own
transformers  sam      SamModel
meta          sam      segment-anything
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zsas_jax.convert.files import PREFERENCE, Folder, Weights, describe_names
from zsas_jax.convert.rules import Rule, Track, convert, count_problems, silent
from zsas_jax.errors import ConfigError, WeightConversionError
from zsas_jax.networks.base import OneKey
from zsas_jax.networks.clip import convert as clip_names
from zsas_jax.networks.clip.config import ACTIVATIONS, PRESETS, ClipConfig
from zsas_jax.networks.clip.described import (
    check_described,
    described_activation,
    described_heads,
    described_pixels,
)
from zsas_jax.networks.clip.model import Clip
from zsas_jax.networks.sam import convert as sam_names
from zsas_jax.networks.sam.config import SamConfig
from zsas_jax.networks.sam.model import Sam
from zsas_jax.ops.layers import parameter_dtype

NetworkConfig = ClipConfig | SamConfig


class Layout(NamedTuple):
    """One way to name a network's weights."""

    name: str
    network: str
    prefixes: tuple[str, ...]  # of names that this layout alone has
    rules: Callable[[Any], Sequence[Rule]]
    ignored: Mapping[str, str]


LAYOUTS = (
    Layout(
        "transformers",
        "clip",
        ("vision_model.", "text_model.", "visual_projection.", "text_projection.weight"),
        lambda config: clip_names.TRANSFORMERS_RULES,
        clip_names.TRANSFORMERS_IGNORED,
    ),
    Layout(
        "openai",
        "clip",
        ("visual.", "transformer.resblocks.", "token_embedding.", "ln_final."),
        lambda config: clip_names.OPENAI_RULES,
        clip_names.OPENAI_IGNORED,
    ),
    Layout(
        "open_clip",
        "clip",
        ("visual.", "text.transformer.resblocks.", "text.token_embedding.", "text.ln_final."),
        lambda config: clip_names.CUSTOM_TEXT_RULES,
        clip_names.OPENAI_IGNORED,
    ),
    Layout(
        "transformers",
        "sam",
        ("vision_encoder.", "shared_image_embedding."),
        sam_names.transformers_rules,
        sam_names.TRANSFORMERS_IGNORED,
    ),
    Layout("meta", "sam", ("image_encoder.",), lambda config: (), {}),
)
SAM_PRESETS = (SamConfig.vit_b(), SamConfig.vit_l(), SamConfig.vit_h())


@dataclasses.dataclass(frozen=True)
class Source:
    """Weights of a known layout and size, not yet read."""

    weights: Weights
    folder: Folder
    layout: Layout
    config: NetworkConfig

    @property
    def network(self) -> str:
        """Clip or sam."""
        return self.layout.network

    def read(self, dtype: Any = jnp.float32, track: Track = silent) -> Clip | Sam:
        """The network, its parameters in `dtype`.

        Raises:
            WeightConversionError: all that is missing, unexpected, mis-shaped or not finite.
        """
        target = with_param_dtype(abstract_network(self.config), dtype)
        rules, ignored = self.layout.rules(self.config), self.layout.ignored
        with self._named():
            if self.layout.network == "sam":
                sam_names.require_equal_copies(self.weights.tensors)
            return convert(target, self.weights.tensors, rules, ignored, track)

    def problems(self) -> int:
        """How many names and shapes do not fit; no number is read."""
        return _problems(self.weights, self.layout, self.config)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Says in a conversion error which file it is about."""
        try:
            yield
        except WeightConversionError as error:
            raise WeightConversionError(f"{self.weights.files[0]}: {error}") from error


def identify(
    candidates: Sequence[Weights], folder: Folder, *, activation: str | None = None
) -> Source:
    """What the candidates of one path are, and how large; several must be the same model.

    Args:
        candidates: what `open_weights` found, the preferred one first.
        folder: the config files beside them.
        activation: of a CLIP: quick_gelu or gelu, where the user says so.

    Raises:
        WeightConversionError: no CLIP or SAM, two models, or sizes that cannot be told.
    """
    found = []
    for weights in candidates:
        layout = _layout(weights)
        config = _config(weights, layout, folder, activation)
        found.append(Source(weights, folder, layout, config))
    first = found[0]
    for other in found[1:]:
        # Only the well-known names are the same weights in another format.
        known = {_whole_name(source.weights.files[0]) for source in (first, other)} <= {*PREFERENCE}
        if not known or (other.network, _sizes(other)) != (first.network, _sizes(first)):
            names = " and ".join(source.weights.files[0].name for source in (first, other))
            raise WeightConversionError(
                f"{folder.path} holds two models ({names}): give the file of one of them"
            )
    return first


def abstract_network(config: NetworkConfig) -> Clip | Sam:
    """Shapes and dtypes of a network, with no weights in memory."""
    if isinstance(config, ClipConfig):
        return _abstract(Clip, config)
    return _abstract(Sam, config)


@functools.lru_cache(maxsize=16)
def _abstract(kind: Callable, config: NetworkConfig) -> Any:
    return nnx.eval_shape(lambda: kind(config, rngs=OneKey(0)))


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


def _layout(weights: Weights) -> Layout:
    names = list(weights.tensors)

    def score(layout: Layout) -> int:
        return sum(name.startswith(layout.prefixes) for name in names)

    best = max(LAYOUTS, key=score)
    if not score(best):
        raise WeightConversionError(
            f"{weights.files[0]} holds neither a CLIP nor a SAM: its {len(names)} names are "
            f"{describe_names(names)}"
        )
    return best


def _config(
    weights: Weights, layout: Layout, folder: Folder, activation: str | None
) -> NetworkConfig:
    """From config.json where there is one for this layout, else from the shapes.

    Mean and std of the pixels are those that a file beside the weights states.
    """
    if weights.container == "TorchScript archive":
        folder = Folder(folder.path)  # OpenAI's: config files beside it are another model's
    told: dict[str, Any] = dict(described_pixels(folder, layout.network, layout.name))
    if layout.name == "transformers" and folder.transformers is not None:
        kind = folder.transformers.get("model_type", layout.network)
        if kind != layout.network:
            raise WeightConversionError(
                f"{folder.path / 'config.json'} describes a {kind!r}, but "
                f"{weights.files[0].name} holds a {layout.network}"
            )
        reader = ClipConfig if layout.network == "clip" else SamConfig
        try:
            config = reader.from_transformers_config(folder.transformers)
        except (ConfigError, TypeError, KeyError, ZeroDivisionError) as error:
            raise WeightConversionError(f"{folder.path / 'config.json'}: {error}") from error
        if activation is not None and isinstance(config, ClipConfig):
            told["activation"] = activation
        return dataclasses.replace(config, **told)
    config = _config_from_shapes(weights, layout, folder)
    if isinstance(config, ClipConfig):
        told["activation"] = activation or _activation(weights, folder, config)
    return dataclasses.replace(config, **told)


def _config_from_shapes(weights: Weights, layout: Layout, folder: Folder) -> NetworkConfig:
    shapes = weights.shapes
    config, reason = None, ""
    try:
        if layout.network == "clip":
            config = clip_names.config_from_shapes(shapes, layout.rules(None))
        else:
            config = sam_names.config_from_shapes(
                shapes, transformers=layout.name == "transformers"
            )
    except KeyError as error:
        reason = f"it lacks {error.args[0]}"
    except ConfigError as error:
        reason = str(error)
    # Division, unpacking or an index of a shape that is not what it should be.
    except (ValueError, TypeError, ZeroDivisionError, IndexError):
        reason = "their ranks are not those of the published layout"
    if config is not None and not _problems(weights, layout, config):
        return _with_heads(weights, folder, config) if isinstance(config, ClipConfig) else config
    # Something is damaged. The nearest published size makes the better error message.
    presets = PRESETS.values() if layout.network == "clip" else SAM_PRESETS
    counted = {preset: _problems(weights, layout, preset) for preset in presets}
    nearest = min(counted, key=counted.__getitem__)
    if config is not None and _problems(weights, layout, config) <= counted[nearest]:
        return config
    if config is None and counted[nearest] > len(shapes) // 2:
        raise WeightConversionError(
            f"the sizes of the {layout.network} in {weights.files[0]} cannot be told: {reason}"
        )
    return nearest


def _with_heads(weights: Weights, folder: Folder, sizes: ClipConfig) -> ClipConfig:
    check_described(folder)
    try:
        return clip_names.with_heads(sizes, described_heads(folder, sizes))
    except ConfigError as error:
        raise WeightConversionError(
            f"{weights.files[0]}: {error}; put the model's open_clip_config.json or, for weights "
            "of transformers, its config.json beside it"
        ) from error


def _activation(weights: Weights, folder: Folder, config: ClipConfig) -> str:
    """Shapes do not tell it, and the wrong one only makes results worse: it is never guessed."""
    if weights.container == "TorchScript archive":
        return "quick_gelu"  # OpenAI's
    described = described_activation(folder)
    if described:
        return described
    sizes_stored = {"input_resolution", "context_length", "vocab_size"} & weights.tensors.keys()
    dtypes = {str(np.dtype(tensor.dtype)) for tensor in weights.tensors.values()}
    if sizes_stored or {"float16", "float32"} <= dtypes:
        return "quick_gelu"  # OpenAI's state dicts: half precision but for the norms
    published = clip_names.published_activation(config)
    if published:
        return published
    raise WeightConversionError(
        f"{weights.files[0]} does not tell which activation this CLIP has: give "
        f"--clip-activation {'|'.join(ACTIVATIONS)} (OpenAI's models have quick_gelu, LAION's gelu)"
    )


def _problems(weights: Weights, layout: Layout, config: NetworkConfig) -> int:
    target = abstract_network(config)
    return count_problems(target, weights.tensors, layout.rules(config), layout.ignored)


def _whole_name(file: pathlib.Path) -> str:
    return file.name.removesuffix(".index.json")


def _sizes(source: Source) -> NetworkConfig:
    """What must agree between two files of one directory: all but what only a config tells."""
    config = source.config
    if isinstance(config, ClipConfig):
        return dataclasses.replace(
            config,
            text_pooling="argmax",
            end_token_id=0,
            activation="gelu",
            pixel_mean=ClipConfig.pixel_mean,
            pixel_std=ClipConfig.pixel_std,
        )
    return config
