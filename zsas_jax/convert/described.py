"""What config files beside weights say of a network, for the layouts of all networks.

config.json               transformers': sizes, and `model_type`
preprocessor_config.json  transformers': image_mean and image_std
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from zsas_jax.convert.files import Folder, Weights
from zsas_jax.errors import ConfigError, WeightConversionError

T = TypeVar("T")


class UnknownSizes(WeightConversionError):
    """Shapes that do not tell a network's sizes: of damaged weights, or of another network."""


class Stated(NamedTuple):
    """A section of a config file that may state mean and std of the pixels."""

    file: str
    section: Mapping[str, Any]
    prefix: str = ""
    """Before "mean" and "std"."""


@contextlib.contextmanager
def reading_shapes() -> Iterator[None]:
    """Turns what fails while sizes are told from shapes into `UnknownSizes`."""
    try:
        yield
    except KeyError as error:
        raise UnknownSizes(f"it lacks {error.args[0]}") from error
    except ConfigError as error:
        raise UnknownSizes(str(error)) from error
    # Division, unpacking or an index of a shape that is not what it should be.
    except (ValueError, TypeError, ZeroDivisionError, IndexError) as error:
        raise UnknownSizes("their ranks are not those of the published layout") from error


def model_type(folder: Folder) -> str | None:
    """The network that transformers' config.json is of."""
    return (folder.transformers or {}).get("model_type")


def from_transformers(
    weights: Weights, folder: Folder, kind: str, reader: Callable[[Mapping[str, Any]], T]
) -> T | None:
    """A network's config from transformers' config.json; None where there is none.

    Args:
        weights: of transformers' layout.
        folder: the files beside them.
        kind: the network's `model_type`.
        reader: content of the file -> config.

    Raises:
        WeightConversionError: a file of another network, or one that `reader` refuses.
    """
    if folder.transformers is None:
        return None
    file = folder.path / "config.json"
    found = folder.transformers.get("model_type", kind)
    if found != kind:
        raise WeightConversionError(
            f"{file} describes a {found!r}, but {weights.files[0].name} holds a {kind}"
        )
    try:
        return reader(folder.transformers)
    except (ConfigError, TypeError, KeyError, ZeroDivisionError) as error:
        raise WeightConversionError(f"{file}: {error}") from error


def preprocessor(folder: Folder) -> Stated:
    """Transformers' preprocessor_config.json."""
    return Stated("preprocessor_config.json", folder.preprocessor or {}, "image_")


def stated_pixels(folder: Folder, stated: Stated, scale: float = 1) -> dict[str, tuple[float, ...]]:
    """Fields `pixel_mean` and `pixel_std` of a config, as far as they are stated, times `scale`.

    Raises:
        WeightConversionError: a value that is not three numbers, or a std that is not positive.
    """
    fields = {}
    for name in ("mean", "std"):
        values = stated.section.get(stated.prefix + name)
        if values is None:
            continue
        if not _three_numbers(values) or (name == "std" and min(values) <= 0):
            raise WeightConversionError(
                f"{folder.path / stated.file}: {stated.prefix}{name} is {values!r}: expected three "
                f"{'numbers' if name == 'mean' else 'positive numbers'}"
            )
        fields[f"pixel_{name}"] = tuple(
            float(value) if scale == 1 else round(scale * value, 6) for value in values
        )
    return fields


def _three_numbers(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) == 3
        and all(type(value) in (int, float) and math.isfinite(value) for value in values)
    )
