"""The command `zsas`: one subcommand a file of `cli/`."""

import importlib
import sys
from collections.abc import Sequence

from zsas_jax.cli.common import exit_on_error
from zsas_jax.config import suggestion
from zsas_jax.errors import ConfigError

COMMANDS = {
    "predict": "score, verdict and map of photos",
    "evaluate": "maps, metrics and a report of photos or a data set",
    "train": "train a network, or all of a recipe",
    "weights": "convert, download, inspect, verify or average weights",
    "data": "list, check or prepare data sets",
    "ablations": "tables of variants, trained and evaluated alike",
    "promptable": "what a SAM segments from one click or one box",
    "benchmarks": "speed and memory, beside PyTorch where it is installed",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand; returns the exit code.

    0: done; 1: done, but some inputs failed; 2: bad input; 130: interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: zsas COMMAND ...   (zsas COMMAND --help lists its flags)\n")
        print("\n".join(f"  {name:11} {about}" for name, about in COMMANDS.items()))
        return 0
    return run(words[0], words[1:], f"zsas {words[0]}")


def run(command: str, argv: Sequence[str], prog: str) -> int:
    """Runs a subcommand as the program `prog`; returns the exit code."""
    with exit_on_error() as outcome:
        if command not in COMMANDS:
            raise ConfigError(f"command {command!r} is not known{suggestion(command, COMMANDS)}")
        importlib.import_module(f"zsas_jax.cli.{command}").main(argv, outcome, prog)
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
