"""Finds anomalies in photos and measures how well: `python evaluate.py [--dataset D] ...`."""

import sys
import time


def main(argv: list[str] | None = None) -> int:
    """Parses the command line, evaluates, prints what was found; returns the exit code.

    0: done; 1: done, but some photos could not be read; 2: bad input; 130: interrupted.
    """
    started = time.perf_counter()
    from zsas_jax.cli.common import EXIT_FAILURES, exit_on_error, set_up_xla

    argv = sys.argv[1:] if argv is None else argv
    with exit_on_error() as outcome:
        from zsas_jax.cli import evaluate as command
        from zsas_jax.cli import runs

        args = command.parse(argv)
        if args.compare is not None:
            print(runs.compare_runs(args))
            return outcome.code
        set_up_xla()
        tasks = command.tasks(args, argv)

        from zsas_jax.report.summary import summary

        results = runs.run_all(tasks)
        computing = sum(result.metrics["timing"]["total_seconds"] for result in results)
        load_seconds = max(time.perf_counter() - started - computing, 0.0)
        for task, result in zip(tasks, results, strict=True):
            if args.calibrate:
                print(runs.save_calibration(task, result))
            else:
                print(summary(result, load_seconds if len(tasks) == 1 else 0.0))
            if result.failures:
                outcome.code = EXIT_FAILURES
        if len(results) > 1:
            print("\nreport of all: " + str(runs.write_common_report(results)[0]))
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
