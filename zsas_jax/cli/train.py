"""`zsas train`: one run, or a recipe of several phases."""

import dataclasses
import logging
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from zsas_jax.cli.common import (
    Outcome,
    config_path,
    load_config_file,
    parse_arguments,
    parse_known,
    set_up_xla,
    split_help,
)
from zsas_jax.errors import ConfigError

ABOUT = """Trains: zsas train --config configs/umci_mvtec.py [--optimizer.learning-rate 1e-4 ...]

Every field of the config is a flag too; --config FILE --help lists them. SIGTERM and Ctrl-C save a
checkpoint, from which --resume goes on."""


@dataclasses.dataclass(frozen=True)
class TrainArguments:
    """What `zsas train` takes beside the config's own fields."""

    config: Annotated[pathlib.Path, tyro.conf.arg(metavar="FILE")]
    """configs/NAME.py, or the name of one that comes with the package."""
    data_dir: str | None = None
    """The data set, as published, of a config that trains on photos."""
    output_dir: pathlib.Path | None = None
    """Default: runs/NAME."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on from the last checkpoint."""
    devices: int | None = None
    """Use so many of this machine's; default all."""
    distributed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Several hosts, each running the same command: set up from the cluster."""
    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT")] = None
    """Several hosts: the first process's address."""
    num_processes: int | None = None
    process_id: int | None = None


def main(argv: Sequence[str], outcome: Outcome, prog: str = "zsas train") -> None:
    """Trains and prints where the result lies; stopped by SIGTERM, everything is saved."""
    del outcome
    asked, words = split_help(argv)
    if asked and not any(word.startswith("--config") for word in words):
        words = ["--help"]
    missing: Any = tyro.MISSING_NONPROP
    args, rest = parse_known(TrainArguments, words, missing, prog, ABOUT)

    from zsas_jax.training.config import TrainConfig
    from zsas_jax.training.recipe import Recipe

    config: Any = load_config_file(args.config, (TrainConfig, Recipe))
    if args.data_dir is not None:
        rest = ["--task.data.data-dir", args.data_dir, *rest]
    config = parse_arguments(type(config), [*rest, *asked], config, prog, ABOUT)
    set_up_xla()
    # Libraries may have set their own format by now.
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    logging.getLogger("zsas_jax").setLevel(logging.INFO)
    _train(args, config, args.output_dir or pathlib.Path("runs") / config_path(args.config).stem)


def _train(args: TrainArguments, config: Any, output_dir: pathlib.Path) -> None:
    from zsas_jax.tasks import make_task
    from zsas_jax.training.checkpoints import check_directory
    from zsas_jax.training.devices import Devices, connect
    from zsas_jax.training.journal import summary_lines
    from zsas_jax.training.loop import train
    from zsas_jax.training.recipe import Recipe, run_recipe

    alone = not (args.distributed or args.coordinator)
    if alone and (args.num_processes is not None or args.process_id is not None):
        raise ConfigError(
            "--num-processes and --process-id are those of several hosts: expected "
            "--coordinator or --distributed beside them"
        )
    if not alone:
        connect(args.coordinator, args.num_processes, args.process_id)
    devices = Devices(args.devices)
    lines: list[str] = []
    if isinstance(config, Recipe):
        result = run_recipe(config, make_task, output_dir, resume=args.resume, devices=devices)
    else:
        # Before features are computed, which can take hours.
        devices.check_batch(config.batch_size, config.optimizer.accumulation)
        check_directory(config, output_dir, resume=args.resume)
        task = make_task(config)
        result = train(config, task, output_dir, resume=args.resume, devices=devices)
        if result and devices.writes:
            lines = summary_lines(output_dir)
    if devices.writes and result:
        print("\n".join([*lines, f"saved {result}"]))
    elif devices.writes:
        print(f"stopped early: --resume continues {output_dir}")
