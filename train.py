"""Trains one network: `python train.py --config configs/umci_tiny.py [--field.subfield value]`."""

import argparse
import pathlib
import sys


def main(argv: list[str] | None = None) -> int:
    """Parses the command line, trains, prints where the result lies; returns the exit code.

    0: done, or stopped by SIGTERM with everything saved; 2: bad input.
    """
    argv = sys.argv[1:] if argv is None else argv
    # With a config, --help is about its fields.
    has_config = any(argument.startswith("--config") for argument in argv)
    args, overrides = _parser(add_help=not has_config).parse_known_args(argv)

    from zsas_jax.cli.common import (
        exit_on_error,
        load_config_file,
        parse_arguments,
        set_up_xla,
    )

    with exit_on_error() as outcome:
        from zsas_jax.errors import ConfigError
        from zsas_jax.training.config import TrainConfig

        if args.data_dir is not None:
            overrides += ["--auxiliary.data-dir", args.data_dir]
        config = load_config_file(args.config, TrainConfig)
        config = parse_arguments(TrainConfig, overrides, config, "python train.py", __doc__ or "")
        set_up_xla()
        _log_to_stderr()

        from zsas_jax.training.devices import Devices, connect

        alone = not (args.distributed or args.coordinator)
        if alone and (args.num_processes is not None or args.process_id is not None):
            raise ConfigError(
                "--num-processes and --process-id are those of several hosts: expected "
                "--coordinator or --distributed beside them"
            )
        if not alone:
            connect(args.coordinator, args.num_processes, args.process_id)
        devices = Devices(args.devices)

        from zsas_jax.tasks.networks import make_task
        from zsas_jax.training.checkpoints import check_directory
        from zsas_jax.training.journal import summary_lines
        from zsas_jax.training.loop import train

        output_dir = args.output_dir or pathlib.Path("runs") / args.config.stem
        # Before features are computed, which can take hours.
        devices.check_batch(config.batch_size, config.optimizer.accumulation)
        check_directory(config, output_dir, resume=args.resume)
        task = make_task(config)
        result = train(config, task, output_dir, resume=args.resume, devices=devices)
        if devices.writes and result:
            print("\n".join([*summary_lines(output_dir), f"saved {result}"]))
        elif devices.writes:
            print(f"stopped early: --resume continues {output_dir}")
    return outcome.code


def _parser(add_help: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        add_help=add_help,
        epilog="Every field of the config is a flag too, --optimizer.learning-rate for instance: "
        "--config FILE --help lists them.",
    )
    parser.add_argument("--config", required=True, type=pathlib.Path, help="configs/NAME.py")
    parser.add_argument("--data-dir", help="the auxiliary data set, as published")
    parser.add_argument("--output-dir", type=pathlib.Path, help="default: runs/NAME")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--devices", type=int, help="use so many of this machine's; default all")
    hosts = parser.add_argument_group("several hosts, each running the same command")
    hosts.add_argument("--distributed", action="store_true", help="set up from the cluster")
    hosts.add_argument("--coordinator", metavar="HOST:PORT", help="the first process's address")
    hosts.add_argument("--num-processes", type=int)
    hosts.add_argument("--process-id", type=int)
    return parser


def _log_to_stderr() -> None:
    import logging

    # Libraries may have set their own format by now.
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    logging.getLogger("zsas_jax").setLevel(logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
