"""`zsas benchmarks`: speed and memory, beside PyTorch where it is installed."""

import dataclasses
import importlib
import os
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import tyro

from zsas_jax.cli.common import Outcome, parse_arguments, set_up_xla
from zsas_jax.config import suggestion
from zsas_jax.errors import ConfigError

ABOUT = """Measures speed and memory beside PyTorch: each run writes a JSON file, prints its tables.

  zsas benchmarks encoders    image encoders against transformers'
  zsas benchmarks pipeline    a whole method against a PyTorch pipeline of the same steps
  zsas benchmarks line        a line of mostly good parts, with and without refine_at_a_time
  zsas benchmarks metrics     streaming metrics against the usual programs
  zsas benchmarks training    training of a head's network against PyTorch
  zsas benchmarks weights     memory and time of converting and loading a SAM
  zsas benchmarks table FILE [FILE ...]    the tables of files that these wrote, as Markdown

Programs are warmed up and run in turn; seconds are medians. COMMAND --help lists the flags."""

_PEERS = ("torch", "transformers", "sklearn", "safetensors")
_Count = Annotated[int, tyro.conf.arg(metavar="N")]
_Side = Annotated[int | None, tyro.conf.arg(metavar="PIXELS")]
_Dtype = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class _Measured:
    repeats: _Count = 5
    """Rounds."""
    output: pathlib.Path | None = None
    """The JSON file; default results/benchmarks/NAME.json."""


@dataclasses.dataclass(frozen=True)
class Encoders(_Measured):
    """Seconds per image of image encoders; random weights, float32 noise as the image."""

    models: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME[@SIDE] ...")] = (
        "ViT-B",
        "ViT-L-14-336",
        "ViT-L-14-336@518",
    )
    """Presets of the networks, at another side of the input where one is named."""
    programs: tuple[Literal["sdpa", "eager", "compiled"], ...] = ("sdpa", "eager", "compiled")
    """Transformers' two kinds of attention, and sdpa under torch.compile."""
    batch_size: _Count = 1
    """Images of a run."""
    dtype: _Dtype = "float32"
    """What all programs compute in."""
    memory: bool = True
    """Measure peak memory as well, in a process of its own per program."""


@dataclasses.dataclass(frozen=True)
class _OfModel(_Measured):
    model: str = "tiny"
    """A checkpoint; or a preset of SAM: random weights, CLIP ViT-L/14@336 and that SAM."""


@dataclasses.dataclass(frozen=True)
class Pipeline(_OfModel):
    """Seconds per photo of the model's own method, on the generator's pictures."""

    batch_sizes: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")] = (1, 8)
    """Photos of a run."""
    image_side: _Side = None
    """Of the photos; default 256 for a checkpoint, 1024 for a preset."""
    programs: tuple[Literal["torch", "compiled"], ...] = ("torch",)
    """PyTorch, and its encoders under torch.compile."""
    dtype: _Dtype = "float32"
    """What the networks compute in."""


@dataclasses.dataclass(frozen=True)
class Line(_OfModel):
    """Seconds per part of a line, by its share of anomalous parts."""

    percents: Annotated[tuple[float, ...], tyro.conf.arg(metavar="X ...")] = (1.0, 10.0, 100.0)
    """Shares of anomalous parts."""
    image_side: _Side = None
    """Of the photos; default 256 for a checkpoint, 1024 for a preset."""


@dataclasses.dataclass(frozen=True)
class Metrics(_Measured):
    """Seconds and memory of the pixel metrics of random maps of a million pixels."""

    maps: _Count = 20
    """How many there are."""
    peer: bool = True
    """Run scikit-learn too."""


@dataclasses.dataclass(frozen=True)
class Training(_OfModel):
    """Seconds of a training step, and of features read from files and computed."""

    batch_size: _Count = 8
    """Photos of a step."""
    side: _Side = None
    """Of CLIP's input; default: what suits it."""
    peer: bool = True
    """PyTorch takes its step too."""


@dataclasses.dataclass(frozen=True)
class Weights(_Measured):
    """Whole processes that convert and load a SAM of random weights."""

    size: str = "ViT-B"
    """A preset of SAM."""
    embedding: bool = True
    """Also the time to a first embedding, which takes minutes of computing."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Prints the tables of result files as Markdown, one a question."""

    files: tyro.conf.Positional[tuple[pathlib.Path, ...]]
    """What the other commands wrote."""


_COMMANDS: dict[str, type] = {
    kind.__name__.lower(): kind
    for kind in (Encoders, Pipeline, Line, Metrics, Training, Weights, Table)
}


def main(argv: Sequence[str], outcome: Outcome, prog: str = "zsas benchmarks") -> None:
    """Runs one benchmark and prints its tables."""
    del outcome
    if not argv or argv[0] in ("-h", "--help"):
        print(ABOUT)
        return
    name, *rest = argv
    if name not in _COMMANDS:
        raise ConfigError(f"command {name!r} is not known{suggestion(name, _COMMANDS)}")
    kind = _COMMANDS[name]
    missing: Any = tyro.MISSING_NONPROP
    args = parse_arguments(kind, rest, missing, f"{prog} {name}", kind.__doc__ or "")
    files = args.files if kind is Table else [_measure(name, args)]

    from zsas_jax.benchmarks.results import markdown

    print(markdown(files))


def _measure(name: str, args: Any) -> pathlib.Path:
    """Runs a benchmark and returns the file that it wrote."""
    arguments = {field.name: getattr(args, field.name) for field in dataclasses.fields(args)}
    output = arguments.pop("output") or pathlib.Path(f"results/benchmarks/{name}.json")
    if args.repeats < 1:
        raise ConfigError(f"--repeats is {args.repeats}: expected at least 1")
    # On a GPU PyTorch needs memory too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    cache = set_up_xla()
    if cache is not None:  # For the processes that benchmarks start.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)

    from zsas_jax.benchmarks.results import save

    try:
        rows = importlib.import_module(f"zsas_jax.benchmarks.{name}").measure(**arguments)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in _PEERS:
            raise
        raise ConfigError(
            f"benchmark {name!r} compares with {error.name}, which is not installed: expected "
            "pip install 'zsas_jax[test]'"
        ) from error
    save(output, name, arguments, rows)
    return output
