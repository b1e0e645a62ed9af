"""Trains one network, or all of a recipe: `python train.py --config configs/tiny.py`."""

import sys

from zsas_jax.__main__ import run


def main(argv: list[str] | None = None) -> int:
    """As `zsas train`; returns the exit code."""
    return run("train", sys.argv[1:] if argv is None else argv, "python train.py")


if __name__ == "__main__":
    sys.exit(main())
