"""The command line of `python -m zsas_jax.weights`."""

import dataclasses
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import tyro

from zsas_jax.cli.common import exit_on_error, parse_arguments
from zsas_jax.config import suggestion
from zsas_jax.errors import ConfigError

ABOUT = """Turns public CLIP and SAM weights into a checkpoint directory that zsas_jax.load opens.

  python -m zsas_jax.weights convert [--clip SRC] [--sam SRC] [--umci SRC] --output DIR
  python -m zsas_jax.weights download NAME[+NAME] [--output DIR]
  python -m zsas_jax.weights inspect SRC|DIR
  python -m zsas_jax.weights verify DIR
  python -m zsas_jax.weights average DIR DIR [DIR ...] --output DIR

SRC is a file or directory: transformers, OpenAI's CLIP, open_clip, Meta's SAM; its content tells.
COMMAND --help lists the flags."""

_Path = Annotated[pathlib.Path | None, tyro.conf.arg(metavar="PATH")]
_Dtype = Annotated[str, tyro.conf.arg(metavar="float32|bfloat16")]
_Positional = tyro.conf.Positional[str]
_Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]
_Activation = Annotated[str | None, tyro.conf.arg(metavar="quick_gelu|gelu")]


@dataclasses.dataclass(frozen=True)
class Convert:
    """Any one of the three networks alone makes a valid directory."""

    output: Annotated[pathlib.Path, tyro.conf.arg(metavar="DIR")]
    """The new checkpoint directory."""
    clip: _Path = None
    """File or directory of a CLIP."""
    sam: _Path = None
    """File or directory of a SAM."""
    umci: _Path = None
    """Checkpoint directory whose UMCI and pipeline settings are taken over."""
    tokenizer: _Path = None
    """The CLIP's tokenizer, where it is not beside the weights: a directory with tokenizer.json, or
    vocab.json and merges.txt, or bpe_simple_vocab_16e6.txt.gz of OpenAI's CLIP or open_clip."""
    dtype: _Dtype = "float32"
    """Dtype of the stored parameters."""
    clip_activation: _Activation = None
    """Where the files do not tell it: quick_gelu for OpenAI's models, gelu for LAION's."""
    overwrite: _Flag = False
    """Replace DIR."""


@dataclasses.dataclass(frozen=True)
class Download:
    """Fetches known hub names, checks their hashes and converts them."""

    name: _Positional
    """One CLIP, one SAM, or both joined by +."""
    output: _Path = None
    """The new checkpoint directory; by default where evaluate.py --checkpoint NAME finds it."""
    umci: _Path = None
    """As for convert."""
    dtype: _Dtype = "float32"
    """As for convert."""
    overwrite: _Flag = False
    """Replace DIR."""


@dataclasses.dataclass(frozen=True)
class Inspect:
    """Says what a source or a checkpoint directory is: sizes, hashes, what is missing."""

    path: _Positional
    """File or directory."""


@dataclasses.dataclass(frozen=True)
class Verify:
    """Checks hashes, shapes and finiteness of a checkpoint directory."""

    path: _Positional
    """Checkpoint directory."""


@dataclasses.dataclass(frozen=True)
class Average:
    """Saves the mean of checkpoint directories of which one was trained on from the other."""

    paths: tyro.conf.Positional[tuple[str, ...]]
    """Checkpoint directories; settings and tokenizer are the last one's."""
    output: Annotated[pathlib.Path, tyro.conf.arg(metavar="DIR")]
    """The new checkpoint directory."""
    overwrite: _Flag = False
    """Replace DIR."""


COMMANDS = {
    "convert": Convert,
    "download": Download,
    "inspect": Inspect,
    "verify": Verify,
    "average": Average,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; 0: done, 2: bad input, 130: interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(ABOUT)
        return 0
    with exit_on_error() as outcome:
        name, rest = arguments[0], arguments[1:]
        if name not in COMMANDS:
            raise ConfigError(f"command {name!r} is not known{suggestion(name, COMMANDS)}")
        kind = COMMANDS[name]
        about = (kind.__doc__ or "") + ("" if name != "convert" else "\n\n" + ABOUT)
        none: Any = tyro.MISSING_NONPROP  # the fields' own defaults
        args = parse_arguments(kind, rest, none, f"python -m zsas_jax.weights {name}", about)
        for line in _run(args):
            print(line)
    return outcome.code


def _run(args: Convert | Download | Inspect | Verify | Average) -> list[str]:
    if isinstance(args, Inspect | Verify):
        from zsas_jax.checkpoints.inspection import inspect, verify

        return (inspect if isinstance(args, Inspect) else verify)(args.path, progress)
    if isinstance(args, Average):
        from zsas_jax.checkpoints.average import average

        return _report(average(args.paths, args.output, overwrite=args.overwrite))
    from zsas_jax.checkpoints.convert import convert_checkpoint

    if isinstance(args, Convert):
        path = convert_checkpoint(
            args.output,
            clip=args.clip,
            sam=args.sam,
            umci=args.umci,
            tokenizer=args.tokenizer,
            dtype=args.dtype,
            activation=args.clip_activation,
            overwrite=args.overwrite,
            track=progress,
        )
        return _report(path)
    from zsas_jax.checkpoints import hub

    output = args.output or hub.conversion_directory(args.name)
    fetched = {network: hub.fetch(name) for network, name in hub.parse_name(args.name).items()}
    path = convert_checkpoint(
        output,
        clip=fetched["clip"][0] if "clip" in fetched else None,
        sam=fetched["sam"][0] if "sam" in fetched else None,
        umci=args.umci,
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


def _report(path: pathlib.Path) -> list[str]:
    """What was written, and what it lacks."""
    from zsas_jax.checkpoints.checkpoint import NETWORKS, read_config, read_manifest

    config = read_config(path)
    there = [network for network in NETWORKS if getattr(config, network) is not None]
    lines = [f"{path} holds {', '.join(there)}"]
    if config.clip is not None and "tokenizer.json" not in read_manifest(path):
        lines.append(
            "no tokenizer was found: prompts need one, convert again with --tokenizer "
            "(bpe_simple_vocab_16e6.txt.gz or a transformers directory)"
        )
    return lines


def progress(items: Sequence, doing: str) -> Iterable:
    """A bar on terminals, silence elsewhere."""
    from tqdm import tqdm

    return tqdm(items, desc=doing, disable=None, leave=False)
