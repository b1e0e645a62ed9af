"""Finds anomalies in photos and measures how well: `python evaluate.py [--dataset D] ...`."""

import sys
import time


def main(argv: list[str] | None = None) -> int:
    """Parses the command line, evaluates, prints what was found; returns the exit code.

    0: done; 1: done, but some photos could not be read; 2: bad input; 130: interrupted.
    """
    started = time.perf_counter()
    from zsas_jax.cli.common import EXIT_FAILURES, enable_compilation_cache, exit_on_error

    with exit_on_error() as outcome:
        from zsas_jax.cli.evaluate import open_source, parse, run

        args = parse(sys.argv[1:] if argv is None else argv)
        enable_compilation_cache()

        from zsas_jax.report.summary import summary
        from zsas_jax.weights.checkpoint import load

        source = open_source(args)
        bundle = load(args.checkpoint)
        load_seconds = time.perf_counter() - started
        result = run(args, bundle, source)
        print(summary(result, load_seconds))
        if result.failures:
            outcome.code = EXIT_FAILURES
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
