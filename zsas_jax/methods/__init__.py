"""The methods by name. A head, a refiner or a whole method is a file and a line here.

`HEAD+REFINER` names any pair; some pairs have the names that papers gave them.
"""

from typing import Any

from zsas_jax.checkpoints.bundle import Config, Verdict
from zsas_jax.config import from_dict, suggestion, to_dict
from zsas_jax.errors import ConfigError
from zsas_jax.methods.base import Head, Method, Refiner
from zsas_jax.methods.heads import similarity, umci
from zsas_jax.methods.pair import pair
from zsas_jax.methods.refiners import cascade, mmr

HEADS: dict[str, Head] = {head.name: head for head in (umci.HEAD, similarity.HEAD)}
REFINERS: dict[str, Refiner] = {refiner.name: refiner for refiner in (cascade.REFINER, mmr.REFINER)}
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        pair(umci.HEAD, cascade.REFINER, "cascade"),
        pair(umci.HEAD, mmr.REFINER, "clipsam"),
        pair(umci.HEAD),
        pair(similarity.HEAD, name="clip"),
    )
}
# What a checkpoint that names no method of its own runs: the first whose networks it has.
_BEST_FIRST = ("cascade", "similarity+cascade", "umci", "clip")
_pairs: dict[tuple[str, str], Method] = {}


def register(what: Method | Head | Refiner) -> None:
    """Makes a method, head or refiner known by its name everywhere.

    Raises:
        ConfigError: the name is taken, or has a "+".
    """
    table: dict[str, Any] = {Method: METHODS, Head: HEADS, Refiner: REFINERS}[type(what)]
    if "+" in what.name or table.get(what.name, what) is not what:
        raise ConfigError(f"{what.name!r} is taken or has a '+': expected another name")
    table[what.name] = what


def method_names() -> tuple[str, ...]:
    """Names that stand for a method by themselves; pairs HEAD+REFINER come on top."""
    return tuple(dict.fromkeys([*METHODS, *HEADS]))


def find_method(name: str) -> Method:
    """A registered method, a head alone, or the pair that HEAD+REFINER names.

    Raises:
        ConfigError: an unknown name, with the nearest one.
    """
    if name in METHODS:
        return METHODS[name]
    first, plus, second = name.partition("+")
    if first not in HEADS:
        raise ConfigError(
            f"method is {name!r}{suggestion(name, [*method_names(), *_pair_names()])}"
        )
    if plus and second not in REFINERS:
        raise ConfigError(
            f"the refiner of method {name!r} is not known{suggestion(second, REFINERS)}"
        )
    head, refiner = HEADS[first], REFINERS.get(second)
    known = (m for m in METHODS.values() if m.head is head and m.refiner is refiner)
    return next(known, None) or _pairs.setdefault((first, second), pair(head, refiner))


def settings(config: Config, name: str) -> Any:
    """The config of a method with a checkpoint's settings over the method's defaults.

    A pair that the checkpoint says nothing of takes the settings of its head from other methods
    with that head, and so its refiner's and its score's.

    Raises:
        ConfigError: an unknown method, or settings that it does not have.
    """
    method = find_method(name)
    stored = config.methods.get(method.name)
    if stored is None:
        stored = {}
        if method.head is not None:
            own = find_method(method.head.name)
            for other in map(find_method, config.methods):
                given = config.methods[other.name]
                if other.head is method.head and ("head" not in stored or other is own):
                    stored |= {part: given[part] for part in ("head", "score") if part in given}
                if method.refiner is not None and other.refiner is method.refiner:
                    stored.setdefault("refiner", given.get("refiner", {}))
    return from_dict(method.config, stored, f"settings of {method.name}")


def with_settings(config: Config, name: str, chosen: Any) -> Config:
    """A checkpoint's config with a method's settings put in the place of its own."""
    methods = {**config.methods, find_method(name).name: to_dict(chosen)}
    return Config(config.networks, config.method, methods, config.verdicts, config.compute)


def default_method(config: Config) -> str:
    """The checkpoint's own method, or the best that its networks allow.

    Raises:
        ConfigError: no method runs on these networks.
    """
    if config.method:
        return find_method(config.method).name
    for name in (*_BEST_FIRST, *METHODS):
        method = find_method(name)
        if set(method.networks(settings(config, name))) <= set(config.networks):
            return method.name
    raise ConfigError(
        f"no method runs on the networks {', '.join(config.networks) or 'none'} alone: expected a "
        f"checkpoint with more, or another method"
    )


def verdict(config: Config, name: str) -> Verdict:
    """The thresholds chosen for a method; the defaults where none were."""
    return config.verdicts.get(find_method(name).name, Verdict())


def check_method(config: Config, name: str, chosen: Any) -> None:
    """Refuses a method whose networks the checkpoint lacks, or settings that do not fit them.

    Raises:
        ConfigError: with the network or the field.
    """
    method = find_method(name)
    for network in method.networks(chosen):
        if network not in config.networks:
            raise ConfigError(
                f"method {method.name!r} needs the network {network!r}: expected a checkpoint "
                f"that has it, not {', '.join(config.networks) or 'none'} alone"
            )
    method.check(config.networks, chosen)


def _pair_names() -> list[str]:
    return [f"{head}+{refiner}" for head in HEADS for refiner in REFINERS]
