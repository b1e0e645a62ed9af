"""`zsas evaluate`: runs, what is said of them, and their report."""

import time
from collections.abc import Sequence

from zsas_jax.cli.arguments import parse, tasks
from zsas_jax.cli.common import EXIT_FAILURES, Outcome, set_up_xla


def main(argv: Sequence[str], outcome: Outcome, prog: str = "zsas evaluate") -> None:
    """Evaluates, prints what was found; the exit code goes into `outcome`."""
    started = time.perf_counter()
    args, rest = parse(argv, prog)
    from zsas_jax.cli import runs

    if args.compare is not None:
        print(runs.compare_runs(args))
        return
    set_up_xla()
    found = tasks(args, rest, prog)
    results = runs.run_all(found)
    computing = sum(result.metrics["timing"]["total_seconds"] for result in results)
    load_seconds = max(time.perf_counter() - started - computing, 0.0)
    for task, result in zip(found, results, strict=True):
        if args.calibrate:
            print(runs.save_calibration(task, result))
        else:
            print(runs.summary_of(result, load_seconds if len(found) == 1 else 0.0))
        if result.failures:
            outcome.code = EXIT_FAILURES
    if len(results) > 1:
        print("\nreport of all: " + str(runs.write_common_report(results)[0]))
