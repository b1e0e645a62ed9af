"""A method's settings as flags: every field of the chosen one's config."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from zsas_jax.cli.common import parse_arguments, parse_known
from zsas_jax.config import suggestion
from zsas_jax.errors import ConfigError


def print_help(args: Any, prog: str, about: str) -> None:
    """Prints the command's help, then the settings of the method that `args` choose; ends the
    program.
    """
    from zsas_jax import methods
    from zsas_jax.checkpoints import read_config

    config = read_config(args.checkpoint)
    name = args.method or methods.default_method(config)
    try:
        parse_known(type(args), ["--help"], type(args)(), prog, about)
    except SystemExit:
        names = ", ".join(methods.method_names())
        pairs = f"{' | '.join(methods.HEADS)} + {' | '.join(methods.REFINERS)}"
        print(f"\nmethods: {names}; any HEAD+REFINER of {pairs}\n")
    chosen = methods.settings(config, name)
    about = f"Settings of method {name} ({methods.find_method(name).paper})."
    parse_arguments(type(chosen), ["--help"], chosen, f"{prog} --method {name}", about)


def with_flags(chosen: Any, rest: Sequence[str], arguments: type, method: str, prog: str) -> Any:
    """The method's settings with what the flags `rest` change.

    Raises:
        ConfigError: a flag that neither the command's `arguments` nor the settings have.
    """
    if not rest:
        return chosen
    own = [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(arguments)]
    known = [*own, *_flags(chosen)]
    for word in rest:
        flag = word.partition("=")[0]
        if flag.startswith("--") and flag not in known:
            near = suggestion(flag, known)
            if near.startswith(": expected"):
                near = f": expected a setting of method {method}, see --method {method} --help"
            raise ConfigError(f"flag {flag} is not known{near}")
    where, about = f"{prog} --method {method}", f"Settings of method {method}."
    return parse_arguments(type(chosen), rest, chosen, where, about)


def _flags(config: Any, prefix: str = "--") -> list[str]:
    flags = []
    for field in dataclasses.fields(config):
        name, value = prefix + field.name.replace("_", "-"), getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flags += _flags(value, name + ".")
        else:
            flags.append(name)
    return flags
