"""`python -m zsas_jax.benchmarks NAME [--flags]`: each subcommand is a module's `main`."""

import importlib
import os
import sys

import tyro

from zsas_jax.cli.common import EXIT_USAGE, exit_on_error
from zsas_jax.errors import ConfigError

BENCHMARKS = {
    "encoders": "image encoders of SAM and CLIP against transformers'",
    "pipeline": "the whole cascade against a PyTorch pipeline of the same steps",
    "line": "a line of mostly good parts, with and without refine_at_a_time",
    "compilation": "compile time of the whole program, cold and from the cache",
    "metrics": "streaming metrics against the usual programs",
    "training": "training of UMCI against PyTorch",
    "weights": "memory and time of converting and loading SAM",
}
PEERS = ("torch", "transformers", "sklearn", "safetensors")


def main(argv: list[str] | None = None) -> int:
    """Runs one benchmark, which prints its table; returns the exit code."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name not in BENCHMARKS:
        asked = name in ("-h", "--help")
        print(_usage(), file=sys.stdout if asked else sys.stderr)
        return 0 if asked else EXIT_USAGE
    # On a GPU PyTorch needs memory too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    with exit_on_error() as outcome:
        run = importlib.import_module(f"zsas_jax.benchmarks.{name}").main
        try:
            tyro.cli(run, args=rest, prog=f"python -m zsas_jax.benchmarks {name}")
        except ModuleNotFoundError as error:
            _explain(error, name)
    return outcome.code


def _explain(error: ModuleNotFoundError, name: str) -> None:
    """One sentence where only the peers to compare with are missing."""
    if (error.name or "").split(".")[0] not in PEERS:
        raise error
    raise ConfigError(
        f"benchmark {name!r} compares with {error.name}, which is not installed: "
        "pip install 'zsas_jax[test]'"
    ) from error


def _usage() -> str:
    lines = [f"usage: python -m zsas_jax.benchmarks {{{','.join(BENCHMARKS)}}} [--flags]", ""]
    lines += [f"  {name:11} {about}" for name, about in BENCHMARKS.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
