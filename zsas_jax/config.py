"""Configs as frozen dataclasses: strict reading, ranges beside the fields, JSON-able values.

A config is composed of parts and never merged: each network, head, refiner and method has its own,
beside its code. Where a paper is silent, the field says "not specified by the paper".
"""

import collections.abc
import contextlib
import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from zsas_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Between:
    """The range of a number, as `Annotated[float, Between(0, 1)]` beside its field; inclusive."""

    low: float
    high: float | None = None

    def __str__(self) -> str:
        return (
            f"at least {self.low}" if self.high is None else f"between {self.low} and {self.high}"
        )

    def holds(self, value: float) -> bool:
        """Whether the value is in the range; NaN is not."""
        return self.low <= value and (self.high is None or value <= self.high)


def check_fields(config: Any, section: str) -> None:
    """Checks all fields with a `Literal` or a `Between`; call it in `__post_init__`. None passes.

    Args:
        config: a dataclass.
        section: what errors call it: "score" for a field "score.top_fraction".

    Raises:
        ConfigError: an unknown choice (with the nearest one), or a number outside its range.
    """
    for name, kind in typing.get_type_hints(type(config), include_extras=True).items():
        value, path = getattr(config, name), f"{section}.{name}"
        if value is None:
            continue
        if typing.get_origin(kind) is typing.Annotated:
            values = value if isinstance(value, tuple) else (value,)
            for rule in kind.__metadata__:
                if isinstance(rule, Between) and not all(map(rule.holds, values)):
                    raise ConfigError(f"{path} is {value!r}: expected {rule}")
            kind = kind.__origin__
        if typing.get_origin(kind) is Literal:
            _check_choice(path, value, typing.get_args(kind))


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain JSON types: nested dictionaries, tuples as lists."""
    return _plain(dataclasses.asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def get_path(config: Any, path: str) -> Any:
    """The value of a nested field: `get_path(config, "refiner.points.top_k")`.

    Raises:
        ConfigError: an unknown field, with the nearest one.
    """
    walked = []
    for name in path.split("."):
        _check_known(config, name, ".".join(walked) or "config")
        config = getattr(config, name)
        walked.append(name)
    return config


def replace_path(config: Any, path: str, value: Any) -> Any:
    """The config with a nested field set to a value of JSON types, which is checked.

    Raises:
        ConfigError: an unknown field, with the nearest one; a wrong type or value.
    """
    above, _, name = path.rpartition(".")
    owner = get_path(config, above) if above else config
    _check_known(owner, name, above or "config")
    changed = dataclasses.replace(
        owner, **{name: _convert(value, typing.get_type_hints(type(owner))[name], path)}
    )
    return replace_path(config, above, changed) if above else changed


def from_dict(cls: type, data: Any, path: str = "config") -> Any:
    """Builds the dataclass `cls` from JSON types, strictly.

    Integers may stand for numbers, lists for tuples; a part may be built already.

    Raises:
        ConfigError: an unknown or missing field or a wrong type; `path` names the field.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path} is {data!r}: expected a table of fields")
    for name in data:
        _check_known(cls, name, path)
    kinds = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        defaults = (field.default, field.default_factory)
        if field.name not in data and all(given is dataclasses.MISSING for given in defaults):
            expected = _describe(kinds[field.name])
            raise ConfigError(f"{path}.{field.name} is missing: expected {expected}")
    return cls(
        **{name: _convert(value, kinds[name], f"{path}.{name}") for name, value in data.items()}
    )


def _check_known(config: Any, name: str, path: str) -> None:
    if not dataclasses.is_dataclass(config):
        raise ConfigError(f"{path} is {config!r}: expected a table with the field {name!r}")
    known = [field.name for field in dataclasses.fields(config)]
    if name not in known:
        raise ConfigError(f"{path} has no field {name!r}{suggestion(name, known)}")


def suggestion(name: Any, known: Iterable[Any]) -> str:
    """The end of an error sentence: the nearest known name, or all of them."""
    known = sorted(map(str, known))
    near = difflib.get_close_matches(str(name), known, n=1)
    return f": did you mean {near[0]!r}?" if near else f": expected one of {', '.join(known)}"


def _convert(value: Any, kind: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, kind, path)
    if origin is Literal:
        _check_choice(path, value, arguments)
        return value
    if dataclasses.is_dataclass(kind):
        kind = typing.cast(type, kind)
        return value if isinstance(value, kind) else from_dict(kind, value, path)
    if origin is collections.abc.Mapping and isinstance(value, Mapping):
        return {key: _convert(item, arguments[1], f"{path}.{key}") for key, item in value.items()}
    if origin is tuple and isinstance(value, list | tuple):
        repeated = len(arguments) == 2 and arguments[1] is Ellipsis
        kinds = arguments[:1] * len(value) if repeated else arguments
        if len(kinds) == len(value):
            return tuple(
                _convert(item, item_kind, f"{path}[{index}]")
                for index, (item, item_kind) in enumerate(zip(value, kinds, strict=True))
            )
    elif kind is Any:
        return value
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            return float(value)
    elif kind is type(None) and value is None:
        return None
    elif kind in (int, str, bool) and type(value) is kind:
        return value
    raise ConfigError(f"{path} is {value!r}: expected {_describe(kind)}")


def _convert_union(value: Any, kind: Any, path: str) -> Any:
    alternatives = typing.get_args(kind)
    if value is None and type(None) in alternatives:
        return None
    alternatives = [item for item in alternatives if item is not type(None)]
    # A table can only be the one dataclass of the union: its own errors say more.
    if isinstance(value, Mapping):
        for alternative in alternatives:
            if dataclasses.is_dataclass(alternative):
                return _convert(value, alternative, path)
    for alternative in alternatives:
        try:
            return _convert(value, alternative, path)
        except ConfigError:
            continue
    raise ConfigError(f"{path} is {value!r}: expected {_describe(kind)}")


def _describe(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    names = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if item is type(None) else _describe(item) for item in arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a list, each {_describe(arguments[0])}"
        return f"a list of {len(arguments)}, each {_describe(arguments[0])}"
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if dataclasses.is_dataclass(kind) or origin is collections.abc.Mapping:
        return "a table of fields"
    return names.get(kind, str(kind))


def _check_choice(path: str, value: Any, choices: tuple[Any, ...]) -> None:
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        raise ConfigError(f"{path} is {value!r}{suggestion(value, choices)}")
