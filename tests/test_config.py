"""Configs from JSON types, strictly; errors name the field, what was found and what is expected."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest

from zsas_jax.config import (
    Between,
    check_fields,
    from_dict,
    get_path,
    replace_path,
    suggestion,
    to_dict,
)
from zsas_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Part:
    top_k: Annotated[int, Between(1)] = 3
    share: Annotated[float, Between(0, 1)] = 0.5
    rule: Literal["mean", "maximum", 3] = "mean"

    def __post_init__(self):
        check_fields(self, "part")


@dataclasses.dataclass(frozen=True)
class Whole:
    name: str
    part: Part = Part()
    other: Part | None = None
    size: int | tuple[int, int] = 8
    layers: tuple[int, ...] = ()
    sizes: Annotated[tuple[int, ...], Between(1, 9)] = ()
    limit: Annotated[float | None, Between(0)] = None
    mode: Literal["one", "two"] | None = None
    turned: bool = False
    parts: Mapping[str, Part] = dataclasses.field(default_factory=dict)
    free: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        check_fields(self, "whole")


FULL = Whole(
    "every",
    Part(4, 1.0, 3),
    Part(),
    (2, 3),
    (1, 2),
    (9,),
    0.5,
    "two",
    True,
    {"first": Part(1)},
    {"a": [1, {"b": None}]},
)


@pytest.mark.parametrize("config", [Whole("plain"), FULL])
def test_json_round_trip(config):
    data = to_dict(config)
    assert json.loads(json.dumps(data)) == data
    assert from_dict(Whole, data) == config


def test_integers_become_numbers_lists_become_tuples_and_parts_may_be_built():
    config = from_dict(Whole, {"name": "a", "part": {"share": 1}, "layers": [1], "other": Part(2)})
    assert isinstance(config.part.share, float)
    assert config.layers == (1,)
    assert config.other == Part(2)
    hash(config.part)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"prat": {}}, "config has no field 'prat': did you mean 'part'?"),
        ({"part": {"topk": 3}}, "config.part has no field 'topk': did you mean 'top_k'?"),
        ({"part": {"zzz": 3}}, "config.part has no field 'zzz': expected one of rule, share, top_"),
        ({"part": {"top_k": 3.5}}, "config.part.top_k is 3.5: expected an integer"),
        ({"part": {"top_k": True}}, "config.part.top_k is True: expected an integer"),
        ({"part": {"share": "high"}}, "config.part.share is 'high': expected a number"),
        ({"part": {"share": True}}, "config.part.share is True: expected a number"),
        ({"part": {"share": 10**400}}, "0: expected a number"),
        ({"part": {"rule": "maximun"}}, "part.rule is 'maximun': did you mean 'maximum'?"),
        ({"part": {"rule": 3.0}}, "config.part.rule is 3.0"),
        ({"part": None}, "config.part is None: expected a table of fields"),
        ({"other": 3}, "config.other is 3: expected a table of fields or null"),
        ({"other": {"topk": 3}}, "config.other has no field 'topk': did you mean 'top_k'?"),
        ({"size": [1, 2, 3]}, "size is [1, 2, 3]: expected an integer or a list of 2, each an int"),
        ({"layers": [1, "2"]}, "config.layers[1] is '2': expected an integer"),
        ({"layers": "12"}, "config.layers is '12': expected a list, each an integer"),
        ({"mode": "three"}, "config.mode is 'three': expected 'one' or 'two' or null"),
        ({"turned": 1}, "config.turned is 1: expected true or false"),
        ({"parts": {"x": {"topk": 1}}}, "config.parts.x has no field 'topk'"),
        ({"parts": [1]}, "config.parts is [1]: expected a table of fields"),
    ],
)
def test_errors_name_field_finding_and_expectation(data, sentence):
    with pytest.raises(ConfigError) as caught:
        from_dict(Whole, {"name": "a", **data})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_fields_without_a_default_are_required():
    with pytest.raises(ConfigError, match=r"run\.name is missing: expected a string"):
        from_dict(Whole, {}, "run")
    with pytest.raises(ConfigError, match=r"run is \[\]: expected a table of fields"):
        from_dict(Whole, [], "run")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sizes": (3, 0)}, "whole.sizes is (3, 0): expected between 1 and 9"),
        ({"limit": -1.0}, "whole.limit is -1.0: expected at least 0"),
        ({"limit": float("nan")}, "whole.limit is nan: expected at least 0"),
    ],
)
def test_ranges_stand_beside_the_fields(change, sentence):
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(FULL, **change)
    assert str(caught.value) == sentence


def test_choices_and_ranges_hold_for_configs_built_in_python_too():
    with pytest.raises(ConfigError, match=r"part\.rule is 'men': did you mean 'mean'"):
        Part(rule="men")
    for share in (-0.1, 1.5):
        with pytest.raises(ConfigError, match=rf"part\.share is {share}: expected between 0 and 1"):
            Part(share=share)
    assert Part(share=1.0, top_k=10**9).top_k == 10**9


def test_nested_fields_by_their_path():
    assert get_path(FULL, "part.top_k") == 4
    assert get_path(FULL, "part") == FULL.part
    changed = replace_path(FULL, "part.top_k", 7)
    assert changed == dataclasses.replace(FULL, part=dataclasses.replace(FULL.part, top_k=7))
    assert replace_path(FULL, "size", [5, 6]).size == (5, 6)
    assert replace_path(FULL, "other", {"share": 0}).other == Part(share=0.0)
    assert replace_path(FULL, "other", None).other is None


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("prat", 1, "config has no field 'prat': did you mean 'part'?"),
        ("prat.top_k", 1, "config has no field 'prat': did you mean 'part'?"),
        ("part.topk", 1, "part has no field 'topk': did you mean 'top_k'?"),
        ("part.top_k.deep", 1, "part.top_k is 4: expected a table with the field 'deep'"),
        ("part.top_k", 1.5, "part.top_k is 1.5: expected an integer"),
        ("part.top_k", 0, "part.top_k is 0: expected at least 1"),
        ("", 1, "config has no field ''"),
    ],
)
def test_paths_are_as_strict(path, value, sentence):
    with pytest.raises(ConfigError) as caught:
        replace_path(FULL, path, value)
    assert sentence in str(caught.value)


def test_suggestion_is_the_nearest_name_or_all():
    assert suggestion("tiel", ["tile", "grid"]) == ": did you mean 'tile'?"
    assert suggestion("zzz", ["tile", "grid"]) == ": expected one of grid, tile"
