"""The arguments of `zsas evaluate`, and the single runs that they ask for."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import tyro

from zsas_jax.cli.common import load_config_file, parse_known, split_help
from zsas_jax.cli.settings import print_help, with_flags
from zsas_jax.config import from_dict, suggestion, to_dict
from zsas_jax.data.sources import check_names
from zsas_jax.errors import ConfigError

ABOUT = """Finds anomalies in photos without training on them, and measures how well.

Without arguments: the tiny model on held-out synthetic pictures. Your own photos:
  zsas evaluate --dataset folder --data-dir PHOTOS [--categories "metal nut"]

Several at once, with one report:
  zsas evaluate --datasets synthetic mtd=DIR --methods clip umci clipsam cascade

A run that was interrupted goes on where it stopped when the same command is given again.
The verdict's threshold from photos of good parts, and what changed between two runs:
  zsas evaluate --calibrate --dataset folder --data-dir GOOD_PARTS --false-alarm-rate 0.01
  zsas evaluate --compare results/mtd/umci results/mtd/cascade

Compiled programs are kept in ~/.cache/zsas_jax/xla (JAX_COMPILATION_CACHE_DIR names another
directory, or turns that off where it is empty)."""

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
    method: Annotated[str | None, tyro.conf.arg(metavar="NAME|HEAD+REFINER")] = None
    """What computes the maps; the checkpoint's own by default. The names are listed below, with the
    flags of the chosen one's settings."""
    methods: Annotated[tuple[str, ...], tyro.conf.arg(metavar="METHOD ...")] = ()
    """Several methods, one after the other."""
    checkpoint: str = "tiny"
    """A checkpoint directory, the bundled "tiny", or hub names fetched before by zsas
    weights download (openai/clip-vit-large-patch14-336+facebook/sam-vit-huge)."""
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
    """Image score at or above which a photo is called anomalous; the checkpoint's by default."""
    mask_threshold: Annotated[float | None, tyro.conf.arg(metavar="X")] = None
    """Map value at or above which a pixel is anomalous; the checkpoint's by default."""
    dtype: Annotated[str | None, tyro.conf.arg(metavar="float32|bfloat16")] = None
    """What the networks compute in; the checkpoint's by default."""
    refine_at_a_time: _Int = None
    """Photos that SAM takes at a time; it does not run for those that it would not change. 1 is
    fastest on a line of mostly good parts."""
    config: _Path = None
    """Python file whose CONFIG is a table {"method": NAME, "settings": the method's config}; it
    takes the place of the checkpoint's."""
    output_dir: pathlib.Path = pathlib.Path("results")
    """Results go to OUTPUT_DIR/DATASET/METHOD/."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Replace results of another configuration, and compute everything anew."""
    save_maps: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write maps/ (16-bit) and masks/ of every photo; folder always does."""
    pictures: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """The report shows the N best and worst pictures of each category; 0: none."""
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


class Task(NamedTuple):
    """One method of one checkpoint on one data set."""

    args: EvaluateArguments
    """With one dataset, data_dir and checkpoint."""
    method: str
    config: Any
    """The method's settings."""
    verdict: Any
    compute: Any
    output_dir: pathlib.Path


def parse(argv: Sequence[str], prog: str = "zsas evaluate") -> tuple[EvaluateArguments, list[str]]:
    """The general arguments, and the flags of methods' settings as they are.

    Raises:
        ConfigError: a wrong value, or flags that do not go together.
        DatasetError: a name that is not UTF-8.
        SystemExit: after `--help`.
    """
    check_names(argv, "the command line")
    asked, words = split_help(argv)
    args, rest = parse_known(EvaluateArguments, words, EvaluateArguments(), prog, ABOUT)
    if asked:
        print_help(args, prog, ABOUT)
    for one, several in (
        ("dataset", "datasets"),
        ("method", "methods"),
        ("checkpoint", "checkpoints"),
    ):
        if getattr(args, one) != getattr(EvaluateArguments, one) and getattr(args, several):
            raise ConfigError(f"--{one} and --{several} are both given: expected one of them")
    if args.dtype is not None and args.dtype not in DTYPES:
        raise ConfigError(f"--dtype is {args.dtype!r}{suggestion(args.dtype, DTYPES)}")
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
    return args, rest


def tasks(args: EvaluateArguments, rest: Sequence[str], prog: str) -> list[Task]:
    """One for each checkpoint, data set and method, in this order.

    Settings in rising order: the checkpoint's, --config, the method's own flags.
    """
    from zsas_jax import methods
    from zsas_jax.checkpoints import read_config

    given = {} if args.config is None else load_config_file(args.config, dict)
    unknown = sorted(given.keys() - {"method", "settings"})
    if unknown:
        raise ConfigError(
            f"config file {args.config} has the key {unknown[0]!r}: expected method and settings"
        )
    found: list[Task] = []
    checkpoints = args.checkpoints or (args.checkpoint,)
    for checkpoint in checkpoints:
        config = read_config(checkpoint)
        folder = args.output_dir
        if len(set(checkpoints)) > 1:
            folder = folder / _folder_name(checkpoint, checkpoints)
        own = args.method or given.get("method") or methods.default_method(config)
        for dataset in args.datasets or (args.dataset,):
            name, _, data_dir = dataset.partition("=")
            one = dataclasses.replace(
                args,
                checkpoint=checkpoint,
                dataset=name,
                data_dir=pathlib.Path(data_dir) if data_dir else args.data_dir,
            )
            for called in args.methods or (own,):
                method = methods.find_method(called)
                chosen = methods.settings(config, method.name)
                if given and methods.find_method(given.get("method", own)) is method:
                    chosen = _from_file(given.get("settings", {}), chosen, method.config)
                chosen = with_flags(chosen, rest, EvaluateArguments, method.name, prog)
                methods.check_method(config, method.name, chosen)
                verdict = _verdict(one, methods.verdict(config, method.name))
                compute = _compute(one, config.compute)
                found.append(Task(one, method.name, chosen, verdict, compute, folder))
    _refuse_shared_results(found)
    return found


def _from_file(given: Any, chosen: Any, kind: type) -> Any:
    if isinstance(given, kind):
        return given
    return from_dict(kind, _merged(to_dict(chosen), given), "settings")


def _merged(first: Any, second: Any) -> Any:
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return second
    return first | {name: _merged(first.get(name), value) for name, value in second.items()}


def _verdict(args: EvaluateArguments, own: Any) -> Any:
    changes = {"image_threshold": args.threshold, "mask_threshold": args.mask_threshold}
    given = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(own, **given)


def _compute(args: EvaluateArguments, own: Any) -> Any:
    changes = {"dtype": args.dtype, "refine_at_a_time": args.refine_at_a_time}
    given = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(own, **given)


def _refuse_shared_results(found: Sequence[Task]) -> None:
    """Two data sets of one name would take turns in one directory."""
    directories: dict[pathlib.Path, Task] = {}
    for task in found:
        directory = task.output_dir / results_name(task.args.dataset) / task.method
        first = directories.setdefault(directory, task)
        if first is not task:
            names = [f"{other.args.dataset}={other.args.data_dir}" for other in (first, task)]
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
