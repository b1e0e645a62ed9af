"""`python -m zsas_jax.data list|check|prepare`: data sets on disk."""

import argparse
import contextlib
import logging
import pathlib
import sys
from collections.abc import Iterator

from zsas_jax.cli.common import EXIT_FAILURES, Outcome, exit_on_error

_SHOWN = 20  # lines of each kind of problem


def main(argv: list[str] | None = None) -> int:
    """Parses the command line and runs one command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m zsas_jax.data",
        description="Data sets on disk: lists them, checks them against the published numbers, and "
        "prepares them in TFDS's form (array_record, original encodings).",
        epilog="NAME is a published data set or a Python file with a DATASET of your own.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command, about in (
        ("list", "the data sets; with NAME its layout; with --data-dir the photos found"),
        ("check", "compare with the published numbers and read every file; exits with 1 if not"),
        ("prepare", "unpack the archive if need be and write TFDS's form"),
    ):
        sub = commands.add_parser(command, help=about, description=about)
        optional = command == "list"
        sub.add_argument("name", metavar="NAME", nargs="?" if optional else None)
        sub.add_argument("--data-dir", type=pathlib.Path, required=not optional, metavar="DIR")
        if command == "prepare":
            sub.add_argument(
                "--output-dir",
                type=pathlib.Path,
                metavar="DIR",
                help="default: DATA_DIR/prepared",
            )
        if command == "check":
            sub.add_argument(
                "--counts-only", action="store_true", help="read no photos, only count them"
            )
    args = parser.parse_args(argv)
    with _log_to_stderr(), exit_on_error() as outcome:
        _COMMANDS[args.command](args, outcome)
    return outcome.code


@contextlib.contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Shows the library's own messages, each as one line, for the time of one command."""
    library = logging.getLogger("zsas_jax")
    before = library.handlers, library.propagate, library.level
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    library.handlers, library.propagate = [handler], False
    library.setLevel(logging.INFO)
    try:
        yield
    finally:
        library.handlers, library.propagate = before[:2]
        library.setLevel(before[2])


def _list(args: argparse.Namespace, outcome: Outcome) -> None:
    from zsas_jax.data.published import PUBLISHED
    from zsas_jax.data.registry import find_dataset

    if args.name is None:
        for name, dataset in PUBLISHED.items():
            state = _state(dataset, args.data_dir)
            print(f"{name:14} {dataset.title:24} {_published(dataset):28} {state}".rstrip())
        return
    dataset = find_dataset(args.name)
    print(f"{dataset.title} ({dataset.citation or 'your own'}), version {dataset.version}")
    print(f"layout      {dataset.layout}")
    print(f"archives    {', '.join(dataset.archives) or 'none known'}")
    print(f"categories  {', '.join(dataset.categories) or 'those found'}")
    print(f"published   {_published(dataset) or 'no numbers'}")
    if args.data_dir is not None:
        from zsas_jax.data.check import check

        report = check(dataset, args.data_dir, decode=False)
        print(f"found       {report.where}")
        for category, split, defect, count in report.table():
            print(f"            {category:20} {split:6} {defect:24} {count:7,}")


def _state(dataset, data_dir: pathlib.Path | None) -> str:
    """What of a data set lies in a directory."""
    if data_dir is None:
        return dataset.archives[0] if dataset.archives else ""
    from zsas_jax.data.archives import find_archives
    from zsas_jax.data.prepared import find_prepared
    from zsas_jax.data.sources import existing_directory
    from zsas_jax.data.trees import find_roots

    top = existing_directory(data_dir, "data sets")
    places = [
        str(root)
        for root in find_roots(dataset, top)
        if set(dataset.folders(root)) & set(dataset.categories)
        # Without a list of categories every tree of the layout could be meant.
        or (not dataset.categories and dataset.title.lower() in str(root).lower())
    ]
    places += [path.name for path in find_archives(dataset, top)]
    prepared = find_prepared(dataset, top)
    return ", ".join(places + ([str(prepared)] if prepared else [])) or "not here"


def _published(dataset) -> str:
    """The published numbers of photos in total."""
    parts = []
    for split in ("train", "test"):
        counts = [count for count in dataset.counts if count.split == split]
        if counts:
            more = "over " if any(count.at_least for count in counts) else ""
            parts.append(f"{more}{sum(count.number for count in counts):,} {split}")
    return ", ".join(parts)


def _check(args: argparse.Namespace, outcome: Outcome) -> None:
    from zsas_jax.data.check import check
    from zsas_jax.data.registry import find_dataset

    dataset = find_dataset(args.name)
    report = check(
        dataset, args.data_dir, decode=not args.counts_only, progress=sys.stderr.isatty()
    )
    for note in report.notes:
        print(f"note: {note}")
    for kind, found in report.problems.items():
        print(f"{kind}:")
        for phrase in found[:_SHOWN]:
            print(f"  {phrase}")
        if len(found) > _SHOWN:
            print(f"  and {len(found) - _SHOWN:,} more")
    state = "complete" if report.complete else "NOT as published"
    if report.complete and not dataset.counts:
        state = "readable (there are no published numbers to compare with)"
    print(f"{dataset.title} in {report.where}: {len(report.items):,} photos, {state}")
    outcome.code = 0 if report.complete else EXIT_FAILURES


def _prepare(args: argparse.Namespace, outcome: Outcome) -> None:
    from zsas_jax.data.prepared import prepare, read_index
    from zsas_jax.data.registry import find_dataset

    dataset = find_dataset(args.name)
    place = prepare(dataset, args.data_dir, args.output_dir)
    for split, items in read_index(dataset, place)[0].items():
        print(f"{split:6} {len(items):8,} photos")
    print(f"{place}\npython evaluate.py --dataset {args.name} --data-dir {place}")


_COMMANDS = {"list": _list, "check": _check, "prepare": _prepare}

if __name__ == "__main__":
    sys.exit(main())
