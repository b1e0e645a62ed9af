"""The command line of evaluate.py: arguments, and what follows from them."""

import dataclasses
import pathlib
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, get_args

import tyro

from zsas_jax.cli.common import load_config_file, parse_arguments
from zsas_jax.config import Method, PipelineConfig, suggestion
from zsas_jax.errors import ConfigError

if TYPE_CHECKING:
    from zsas_jax.evaluation import EvaluationResult
    from zsas_jax.weights.checkpoint import Bundle

ABOUT = """Finds anomalies in photos without training on them, and measures how well.

Without arguments: the tiny model on held-out synthetic pictures. Your own photos:
  python evaluate.py --dataset folder --data-dir PHOTOS [--categories "metal nut"]

Compiled programs are kept in ~/.cache/zsas_jax/xla (JAX_COMPILATION_CACHE_DIR names another
directory, or turns that off where it is empty)."""

METHODS = get_args(Method)
DTYPES = ("float32", "bfloat16")
FOLDER = "folder"

_Int = Annotated[int | None, tyro.conf.arg(metavar="N")]
_Path = Annotated[pathlib.Path | None, tyro.conf.arg(metavar="PATH")]


@dataclasses.dataclass(frozen=True)
class EvaluateArguments:
    """What evaluate.py takes; `pipeline` starts from the checkpoint's own settings."""

    dataset: str = "synthetic"
    """synthetic (held-out classes and defects of the generator), folder (any tree of photos),
    mvtec or mtd (their published layouts)."""
    data_dir: _Path = None
    """The data set's directory, as published; for folder the photos."""
    method: Annotated[str | None, tyro.conf.arg(metavar="cascade|clipsam|umci|clip")] = None
    """cascade: rough map, points and boxes, SAM; clipsam: rough map, boxes, SAM; umci: the rough
    map alone; clip: similarity to prompts alone. The checkpoint's own by default."""
    checkpoint: str = "tiny"
    """A checkpoint directory, or the bundled "tiny"."""
    categories: tuple[str, ...] = ()
    """Categories of the data set to evaluate; for folder the one name used in the prompts."""
    prompts: _Path = None
    """TOML or JSON file with your own normal_states, abnormal_states, templates or words."""
    batch_size: Annotated[int, tyro.conf.arg(metavar="N")] = 8
    """Photos in one program; large photos are taken fewer at a time."""
    limit: _Int = None
    """Take only N photos, spread evenly over the data set."""
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Seed of the synthetic pictures and of random points."""
    threshold: Annotated[float | None, tyro.conf.arg(metavar="X")] = None
    """Image score at or above which a photo is called anomalous; the checkpoint's by default. The
    masks' own is --pipeline.mask-threshold."""
    dtype: Annotated[str | None, tyro.conf.arg(metavar="float32|bfloat16")] = None
    """What the networks compute in; the checkpoint's by default."""
    config: _Path = None
    """Python file whose CONFIG is a PipelineConfig, or has one as its field `pipeline`; it takes
    the place of the checkpoint's settings."""
    output_dir: pathlib.Path = pathlib.Path("results")
    """Results go to OUTPUT_DIR/DATASET/METHOD/."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace results of another configuration."""
    mask_dir: _Path = None
    """folder: truth masks, <relative path without suffix>.png; no file means a good part."""
    resolution: str = "518"
    """Side in pixels to which maps and masks are stretched for the pixel metrics, or "native"."""
    pipeline: Annotated[PipelineConfig, tyro.conf.FlagConversionOff] = dataclasses.field(
        default_factory=PipelineConfig
    )
    """Every setting of the pipeline. The defaults shown are the package's; those of the checkpoint
    apply."""


def parse(argv: Sequence[str]) -> EvaluateArguments:
    """Arguments with the final pipeline settings.

    In rising order: the checkpoint's, --config, --pipeline.FIELD, --method and --dtype.

    Raises:
        ConfigError, CheckpointError: an unknown flag or name, a wrong value, a missing file.
        SystemExit: after `--help`.
    """
    default = EvaluateArguments()
    if not {"-h", "--help"} & set(argv):
        default = dataclasses.replace(default, pipeline=_starting_pipeline(argv))
    args = parse_arguments(EvaluateArguments, argv, default, "evaluate.py", ABOUT)
    chosen = {}
    for flag, field, known in (
        ("method", "method", METHODS),
        ("dtype", "compute_dtype", DTYPES),
    ):
        value = getattr(args, flag)
        if value is not None:
            if value not in known:
                raise ConfigError(f"--{flag} is {value!r}{suggestion(value, known)}")
            chosen[field] = value
    if args.threshold is not None:
        chosen["image_threshold"] = args.threshold
    if args.mask_dir is not None and args.dataset != FOLDER:
        raise ConfigError(f"--mask-dir is for --dataset folder, not for {args.dataset!r}")
    return dataclasses.replace(args, pipeline=dataclasses.replace(args.pipeline, **chosen))


def _starting_pipeline(argv: Sequence[str]) -> PipelineConfig:
    config_file = _peek(argv, "--config")
    if config_file is not None:
        config: Any = load_config_file(config_file, object)
        pipeline = getattr(config, "pipeline", config)
        if not isinstance(pipeline, PipelineConfig):
            raise ConfigError(
                f"config file {config_file} has a CONFIG of type {type(config).__name__}: "
                "expected a PipelineConfig, or a config with one as its field pipeline"
            )
        return pipeline
    from zsas_jax.weights.checkpoint import read_config

    return read_config(_peek(argv, "--checkpoint") or EvaluateArguments.checkpoint).pipeline


def _peek(argv: Sequence[str], flag: str) -> str | None:
    """The value of a flag before the rest is parsed; the last one counts."""
    value = None
    for here, after in pairwise([*argv, ""]):
        if here == flag and after:
            value = after
        elif here.startswith(flag + "="):
            value = here.removeprefix(flag + "=")
    return value


def open_source(args: EvaluateArguments) -> Any:
    """The data source that the arguments name."""
    from zsas_jax.data.registry import open_dataset

    return open_dataset(
        args.dataset,
        data_dir=args.data_dir,
        categories=args.categories or None,
        mask_dir=args.mask_dir,
        seed=args.seed,
    )


def run(args: EvaluateArguments, bundle: "Bundle", source: Any) -> "EvaluationResult":
    """Evaluates as the arguments say."""
    from zsas_jax.evaluation import evaluate
    from zsas_jax.metrics.resolution import parse_resolution
    from zsas_jax.prompting.text import load_prompts

    folder = args.dataset == FOLDER
    return evaluate(
        bundle,
        source,
        dataset=args.dataset,
        config=args.pipeline,
        output_dir=args.output_dir,
        batch_size=args.batch_size,
        seed=args.seed,
        resolution=parse_resolution(args.resolution),
        limit=args.limit,
        prompts=load_prompts(args.prompts) if args.prompts else None,
        overlays_per_category=None if folder else 3,
        save_maps=folder,
        overwrite=args.overwrite,
        details={
            "checkpoint": args.checkpoint,
            "data_dir": _text(args.data_dir),
            "mask_dir": _text(args.mask_dir),
            "categories": list(args.categories),
        },
    )


def _text(path: pathlib.Path | None) -> str | None:
    return None if path is None else str(path)
