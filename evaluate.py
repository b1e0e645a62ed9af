"""Finds anomalies in photos and measures how well: `python evaluate.py [--dataset D] ...`."""

import sys

from zsas_jax.__main__ import run


def main(argv: list[str] | None = None) -> int:
    """As `zsas evaluate`; returns the exit code."""
    return run("evaluate", sys.argv[1:] if argv is None else argv, "python evaluate.py")


if __name__ == "__main__":
    sys.exit(main())
