"""`zsas weights`: convert, download, inspect, verify, average, card."""

import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import tyro

from zsas_jax.cli.common import Outcome, parse_arguments
from zsas_jax.config import suggestion
from zsas_jax.errors import ConfigError

ABOUT = """Turns published weights into a checkpoint directory that zsas_jax.load opens.

  zsas weights convert --NETWORK SRC [--NETWORK SRC ...] --output DIR
  zsas weights download NAME[+NAME] [--output DIR]
  zsas weights inspect SRC|DIR
  zsas weights verify DIR
  zsas weights average DIR DIR [DIR ...] --output DIR
  zsas weights card DIR --runs RESULTS [RESULTS ...]

SRC is a file or directory of published weights (their content tells which), or a checkpoint
directory. COMMAND --help lists the flags."""

_Path = Annotated[pathlib.Path | None, tyro.conf.arg(metavar="PATH")]
_Directory = Annotated[pathlib.Path, tyro.conf.arg(metavar="DIR")]
_Dtype = Annotated[str, tyro.conf.arg(metavar="float32|bfloat16")]
_Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclasses.dataclass(frozen=True)
class _Written:
    output: _Directory
    """The new checkpoint directory."""
    tokenizer: _Path = None
    """Of the network that reads text, where it is not beside the weights: tokenizer.json, or
    vocab.json and merges.txt, or bpe_simple_vocab_16e6.txt.gz, or their directory."""
    dtype: _Dtype = "float32"
    """Dtype of the stored parameters."""
    overwrite: _Flag = False
    """Replace DIR."""


def _sources() -> list[tuple[str, Any, Any]]:
    """A flag for every network and for each of its options."""
    from zsas_jax.networks import NETWORKS

    fields: list[tuple[str, Any, Any]] = []
    for name, network in NETWORKS.items():
        about = f"File or directory of a {name}, or a checkpoint directory with one."
        source = tyro.conf.arg(metavar="PATH", help=about)
        fields.append((name, Annotated[pathlib.Path | None, source], None))
        for option, known in network.options.items():
            flag = tyro.conf.arg(metavar="|".join(known.choices), help=known.help)
            fields.append((f"{name}_{option}", Annotated[str | None, flag], None))
    return fields


@dataclasses.dataclass(frozen=True)
class Download:
    """Fetches known hub names, checks their hashes and converts them."""

    name: tyro.conf.Positional[str]
    """One hub name, or one of each network joined by +."""
    output: _Path = None
    """The new checkpoint directory; by default where --checkpoint NAME finds it."""
    dtype: _Dtype = "float32"
    """As for convert."""
    overwrite: _Flag = False
    """Replace DIR."""


@dataclasses.dataclass(frozen=True)
class Inspect:
    """Says what a source or a checkpoint directory is: sizes, hashes, what is missing."""

    path: tyro.conf.Positional[str]
    """File or directory."""


@dataclasses.dataclass(frozen=True)
class Verify:
    """Checks hashes, shapes and finiteness of a checkpoint directory."""

    path: tyro.conf.Positional[str]
    """Checkpoint directory."""


@dataclasses.dataclass(frozen=True)
class Average:
    """Saves the mean of checkpoint directories of which one was trained on from the other."""

    paths: tyro.conf.Positional[tuple[str, ...]]
    """Checkpoint directories; settings and tokenizer are the last one's."""
    output: _Directory
    """The new checkpoint directory."""
    overwrite: _Flag = False
    """Replace DIR."""


@dataclasses.dataclass(frozen=True)
class Card:
    """Writes the scores of finished runs into a checkpoint's README.md."""

    path: tyro.conf.Positional[pathlib.Path]
    """Checkpoint directory whose README.md has the marks of a table of scores."""
    runs: Annotated[tuple[pathlib.Path, ...], tyro.conf.arg(metavar="RESULTS ...")]
    """Results directories of zsas evaluate."""


def main(argv: Sequence[str], outcome: Outcome, prog: str = "zsas weights") -> None:
    """Runs one command and prints what it did."""
    del outcome
    if not argv or argv[0] in ("-h", "--help"):
        print(ABOUT)
        return
    if argv[0] not in _COMMANDS:
        raise ConfigError(f"command {argv[0]!r} is not known{suggestion(argv[0], _COMMANDS)}")
    kind, command = _COMMANDS[argv[0]]
    if kind is None:
        kind = dataclasses.make_dataclass("Convert", _sources(), bases=(_Written,), frozen=True)
    missing: Any = tyro.MISSING_NONPROP  # the fields' own defaults
    about = "Converts weights of one network or of several into one checkpoint directory."
    about = about if argv[0] == "convert" else kind.__doc__ or ""
    args = parse_arguments(kind, argv[1:], missing, f"{prog} {argv[0]}", about)
    for line in command(args):
        print(line)


def _convert(args: Any) -> list[str]:
    from zsas_jax.checkpoints.convert import convert_checkpoint
    from zsas_jax.networks import NETWORKS

    sources, options = {}, {}
    for name, network in NETWORKS.items():
        if getattr(args, name) is not None:
            sources[name] = getattr(args, name)
        given = {option: getattr(args, f"{name}_{option}") for option in network.options}
        given = {option: value for option, value in given.items() if value is not None}
        if given:
            options[name] = given
    path = convert_checkpoint(
        args.output,
        sources,
        tokenizer=args.tokenizer,
        options=options,
        dtype=args.dtype,
        overwrite=args.overwrite,
        track=progress,
    )
    return _report(path)


def _download(args: Download) -> list[str]:
    from zsas_jax.checkpoints import hub
    from zsas_jax.checkpoints.convert import convert_checkpoint

    output = args.output or hub.conversion_directory(args.name)
    fetched = {network: hub.fetch(name) for network, name in hub.parse_name(args.name).items()}
    path = convert_checkpoint(
        output,
        {network: directory for network, (directory, _) in fetched.items()},
        dtype=args.dtype,
        overwrite=args.overwrite,
        origin={network: origin for network, (_, origin) in fetched.items()},
        track=progress,
    )
    unchecked = [origin["hub"] for _, origin in fetched.values() if not origin["sha256_checked"]]
    notes = [
        f"{name}: no sha256 to compare with is known; see provenance.json" for name in unchecked
    ]
    return _report(path) + notes


def _inspect(args: Inspect) -> list[str]:
    from zsas_jax.checkpoints.inspection import inspect

    return inspect(args.path, progress)


def _verify(args: Verify) -> list[str]:
    from zsas_jax.checkpoints.inspection import verify

    return verify(args.path, progress)


def _average(args: Average) -> list[str]:
    from zsas_jax.checkpoints.average import average

    return _report(average(args.paths, args.output, overwrite=args.overwrite))


def _card(args: Card) -> list[str]:
    from zsas_jax.report.card import fill_card

    fill_card(args.path / "README.md", args.runs)
    return [f"{args.path / 'README.md'} has the scores of {len(args.runs)} runs"]


_COMMANDS: dict[str, tuple[Any, Any]] = {
    "convert": (None, _convert),
    "download": (Download, _download),
    "inspect": (Inspect, _inspect),
    "verify": (Verify, _verify),
    "average": (Average, _average),
    "card": (Card, _card),
}


def _report(path: pathlib.Path) -> list[str]:
    """What was written, and what it lacks."""
    from zsas_jax import methods
    from zsas_jax.checkpoints import load, read_config
    from zsas_jax.checkpoints.load import tokenizer_places

    config = read_config(path)
    lines = [f"{path} holds {', '.join(config.networks)}"]
    for network in tokenizer_places(config.networks):
        if network not in load(path, networks=(network,)).tokenizers:
            lines.append(
                f"no tokenizer of {network} was found: prompts need one, convert again with "
                "--tokenizer (bpe_simple_vocab_16e6.txt.gz or a transformers directory)"
            )
    try:
        lines.append(f"by itself it runs the method {methods.default_method(config)}")
    except ConfigError as error:
        lines.append(str(error))
    return lines


def progress(items: Sequence, doing: str) -> Iterable:
    """A bar on terminals, silence elsewhere."""
    from tqdm import tqdm

    return tqdm(items, desc=doing, disable=None, leave=False)
