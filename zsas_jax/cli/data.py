"""`zsas data`: data sets on disk: list, check, prepare."""

import contextlib
import dataclasses
import logging
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import tyro

from zsas_jax.cli.common import EXIT_FAILURES, Outcome, parse_arguments
from zsas_jax.config import suggestion
from zsas_jax.errors import ConfigError

ABOUT = """Data sets on disk. NAME is a published one or a Python file with a DATASET of your own.

  zsas data list [NAME] [--data-dir DIR]
  zsas data check NAME --data-dir DIR [--counts-only]
  zsas data prepare NAME --data-dir DIR [--output-dir DIR]"""
_SHOWN = 20  # lines of each kind of problem
_Path = Annotated[pathlib.Path, tyro.conf.arg(metavar="DIR")]


@dataclasses.dataclass(frozen=True)
class List:
    """The data sets; with NAME its layout; with --data-dir the photos found."""

    name: tyro.conf.Positional[str | None] = None
    data_dir: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None


@dataclasses.dataclass(frozen=True)
class Check:
    """Compares with the published numbers, reads every file; exits with 1 if not as published."""

    name: tyro.conf.Positional[str]
    data_dir: _Path
    counts_only: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Read no photos, only count them."""


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Unpacks the archive if need be and writes TFDS's form (array_record, original encodings)."""

    name: tyro.conf.Positional[str]
    data_dir: _Path
    output_dir: Annotated[pathlib.Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Default: DATA_DIR/prepared."""


def main(argv: Sequence[str], outcome: Outcome, prog: str = "zsas data") -> None:
    """Runs one command."""
    if not argv or argv[0] in ("-h", "--help"):
        print(ABOUT)
        return
    if argv[0] not in _COMMANDS:
        raise ConfigError(f"command {argv[0]!r} is not known{suggestion(argv[0], _COMMANDS)}")
    kind, command = _COMMANDS[argv[0]]
    missing: Any = tyro.MISSING_NONPROP
    args = parse_arguments(kind, argv[1:], missing, f"{prog} {argv[0]}", kind.__doc__ or "")
    with _log_to_stderr():
        command(args, outcome)


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


def _list(args: Any, outcome: Outcome) -> None:
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


def _check(args: Any, outcome: Outcome) -> None:
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


def _prepare(args: Any, outcome: Outcome) -> None:
    from zsas_jax.data.prepared import prepare, read_index
    from zsas_jax.data.registry import find_dataset

    dataset = find_dataset(args.name)
    place = prepare(dataset, args.data_dir, args.output_dir)
    for split, items in read_index(dataset, place)[0].items():
        print(f"{split:6} {len(items):8,} photos")
    print(f"{place}\nzsas evaluate --dataset {args.name} --data-dir {place}")


_COMMANDS = {"list": (List, _list), "check": (Check, _check), "prepare": (Prepare, _prepare)}
