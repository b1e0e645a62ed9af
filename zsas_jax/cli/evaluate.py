"""The command line of evaluate.py: its arguments, and the single runs that they ask for."""

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, get_args

import tyro

from zsas_jax.cli.common import load_config_file, parse_arguments
from zsas_jax.config import Method, PipelineConfig, suggestion
from zsas_jax.data.sources import check_names
from zsas_jax.errors import ConfigError

ABOUT = """Finds anomalies in photos without training on them, and measures how well.

Without arguments: the tiny model on held-out synthetic pictures. Your own photos:
  python evaluate.py --dataset folder --data-dir PHOTOS [--categories "metal nut"]

Several at once, with one report:
  python evaluate.py --datasets synthetic mtd=DIR --methods clip umci clipsam cascade

A run that was interrupted goes on where it stopped when the same command is given again.
The verdict's threshold from photos of good parts, and what changed between two runs:
  python evaluate.py --calibrate --dataset folder --data-dir GOOD_PARTS --false-alarm-rate 0.01
  python evaluate.py --compare results/mtd/umci results/mtd/cascade

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
    or a published data set as it is or prepared: mvtec, visa, mtd, ksdd2, ksdd1, mpdd, btad,
    dagm2007, dtd_synthetic, real_iad, mad_sim, mad_real; or FILE.py with a DATASET of your own."""
    datasets: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME[=DIR] ...")] = ()
    """Several data sets, each with its directory: synthetic mtd=DIR mvtec=DIR."""
    data_dir: _Path = None
    """The data set's directory, as published; for folder the photos."""
    method: Annotated[str | None, tyro.conf.arg(metavar="cascade|clipsam|umci|clip")] = None
    """cascade: rough map, points and boxes, SAM; clipsam: rough map, boxes, SAM; umci: the rough
    map alone; clip: similarity to prompts alone. The checkpoint's own by default."""
    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD ...")] = ()
    """Several methods, one after the other."""
    checkpoint: str = "tiny"
    """A checkpoint directory, the bundled "tiny", or hub names fetched before by python -m
    zsas_jax.weights download (openai/clip-vit-large-patch14-336+facebook/sam-vit-huge)."""
    checkpoints: Annotated[tuple[str, ...], tyro.conf.arg(metavar="DIR ...")] = ()
    """Several checkpoints; results go to OUTPUT_DIR/CHECKPOINT/DATASET/METHOD/."""
    categories: tuple[str, ...] = ()
    """Categories of the data set to evaluate; for folder the one name used in the prompts."""
    prompts: _Path = None
    """TOML or JSON file with your own normal_states, abnormal_states, templates or words."""
    batch_size: Annotated[int, tyro.conf.arg(metavar="N")] = 8
    """Photos in one program on each device; large photos are taken fewer at a time."""
    devices: _Int = None
    """How many of this machine's devices share the work; all by default."""
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
    """Replace results of another configuration, and compute everything anew."""
    save_maps: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write maps/ (16-bit) and masks/ of every photo; folder always does."""
    pictures: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """The report shows the N best, median and worst pictures of each category; 0: none."""
    bootstrap: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Resamples of the photos for 95 % confidence intervals, like 200."""
    region_f1: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also SAA's region F1 (slow)."""
    boundary_f1: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also boundary F1 at the mask threshold."""
    pro_200: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also PRO by 200 thresholds, as APRIL-GAN computes it."""
    calibrate: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """folder: DATA_DIR holds good parts; set the verdict's threshold by them, and save it beside
    the checkpoint's config, where later runs of the same method and category find it."""
    false_alarm_rate: Annotated[float, tyro.conf.arg(metavar="X")] = 0.01
    """calibrate: the share of good parts that may be called anomalous."""
    compare: Annotated[
        tuple[pathlib.Path, pathlib.Path] | None, tyro.conf.arg(metavar="RUN_A RUN_B")
    ] = None
    """Say what changed between two results' directories; nothing is computed."""
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
        DatasetError: a name that is not UTF-8.
        SystemExit: after `--help`.
    """
    check_names(argv, "the command line")
    if not {"-h", "--help"} & set(argv) and "--compare" not in argv:
        checkpoints = _peek_all(argv, "--checkpoints")
        checkpoint = checkpoints[0] if checkpoints else _peek(argv, "--checkpoint")
        return _parse(argv, checkpoint or EvaluateArguments.checkpoint)
    return _parse(argv, None)


def _parse(argv: Sequence[str], checkpoint: str | None) -> EvaluateArguments:
    default = EvaluateArguments()
    if checkpoint is not None:
        default = dataclasses.replace(default, pipeline=_starting_pipeline(argv, checkpoint))
    args = parse_arguments(EvaluateArguments, argv, default, "python evaluate.py", ABOUT)
    for one, several in (
        ("dataset", "datasets"),
        ("method", "methods"),
        ("checkpoint", "checkpoints"),
    ):
        if getattr(args, one) != getattr(EvaluateArguments, one) and getattr(args, several):
            raise ConfigError(f"--{one} and --{several} are both given: expected one of them")
    chosen = {}
    for flag, field, known in (
        ("method", "method", METHODS),
        ("dtype", "compute_dtype", DTYPES),
    ):
        value = getattr(args, flag)
        if value is not None:
            _check_known(flag, value, known)
            chosen[field] = value
    for value in args.methods:
        _check_known("methods", value, METHODS)
    if args.threshold is not None:
        chosen["image_threshold"] = args.threshold
    names = [name.partition("=")[0] for name in args.datasets] or [args.dataset]
    if args.mask_dir is not None and names != [FOLDER]:
        raise ConfigError(f"--mask-dir is for --dataset folder, not for {', '.join(names)!r}")
    if args.calibrate and names != [FOLDER]:
        raise ConfigError(f"--calibrate is for --dataset folder, not for {', '.join(names)!r}")
    if args.calibrate and args.mask_dir is not None:
        raise ConfigError("--calibrate takes photos of good parts alone: expected no --mask-dir")
    if not 0 < args.false_alarm_rate < 1:
        raise ConfigError(
            f"--false-alarm-rate is {args.false_alarm_rate}: expected a fraction, like 0.01"
        )
    if len(names) > 1 and (args.categories or args.data_dir):
        flag = "--categories" if args.categories else "--data-dir"
        raise ConfigError(f"{flag} goes with one data set: expected --datasets NAME=DIR NAME=DIR")
    return dataclasses.replace(args, pipeline=dataclasses.replace(args.pipeline, **chosen))


def _check_known(flag: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"--{flag} is {value!r}{suggestion(value, known)}")


def tasks(args: EvaluateArguments, argv: Sequence[str]) -> list[EvaluateArguments]:
    """One set of arguments for each checkpoint, data set and method, in this order."""
    found = []
    checkpoints = args.checkpoints or (args.checkpoint,)
    for number, checkpoint in enumerate(checkpoints):
        # Every checkpoint has settings of its own.
        own = args if number == 0 else _parse(argv, checkpoint)
        folder = args.output_dir
        if len(set(checkpoints)) > 1:
            folder = folder / _folder_name(checkpoint, checkpoints)
        for dataset in args.datasets or (args.dataset,):
            name, _, data_dir = dataset.partition("=")
            for method in args.methods or (own.pipeline.method,):
                found.append(
                    dataclasses.replace(
                        own,
                        checkpoint=checkpoint,
                        checkpoints=(),
                        dataset=name,
                        datasets=(),
                        data_dir=pathlib.Path(data_dir) if data_dir else args.data_dir,
                        method=method,
                        methods=(),
                        output_dir=folder,
                        pipeline=dataclasses.replace(own.pipeline, method=method),
                    )
                )
    found = list(dict.fromkeys(found))
    _refuse_shared_results(found)
    return found


def _refuse_shared_results(found: Sequence[EvaluateArguments]) -> None:
    """Two data sets of one name would take turns in one directory."""
    directories: dict[pathlib.Path, EvaluateArguments] = {}
    for task in found:
        directory = task.output_dir / results_name(task.dataset) / task.pipeline.method
        first = directories.setdefault(directory, task)
        if first is not task:
            names = [f"{other.dataset}={other.data_dir}" for other in (first, task)]
            raise ConfigError(
                f"{' and '.join(names)} would both have their results in {directory}: expected two "
                "commands, each with an --output-dir of its own"
            )


def results_name(dataset: str) -> str:
    """What the results of a data set are called, also where a file describes it."""
    return pathlib.Path(dataset).stem if dataset.endswith(".py") else dataset


def _folder_name(checkpoint: str, checkpoints: Sequence[str]) -> str:
    """The checkpoint's last folder, with its parents' where several are called alike."""
    path = pathlib.PurePath(checkpoint)
    names = [pathlib.PurePath(other).name for other in dict.fromkeys(checkpoints)]
    parts = (path.name,) if names.count(path.name) == 1 else path.parts
    return "-".join(part.strip("/\\") for part in parts if part.strip("/\\.")) or "checkpoint"


def _starting_pipeline(argv: Sequence[str], checkpoint: str) -> PipelineConfig:
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
    from zsas_jax.checkpoints.checkpoint import read_config

    return read_config(checkpoint).pipeline


def _peek(argv: Sequence[str], flag: str) -> str | None:
    """The value of a flag before the rest is parsed; the last one counts."""
    value = None
    for here, after in pairwise([*argv, ""]):
        if here == flag and after:
            value = after
        elif here.startswith(flag + "="):
            value = here.removeprefix(flag + "=")
    return value


def _peek_all(argv: Sequence[str], flag: str) -> list[str]:
    """The values that follow a flag before the rest is parsed; the last such flag counts."""
    values: list[str] = []
    for i, word in enumerate(argv):
        if word == flag:
            after = argv[i + 1 :]
            values = list(itertools.takewhile(lambda word: not word.startswith("--"), after))
        elif word.startswith(flag + "="):
            values = [word.removeprefix(flag + "=")]
    return values
