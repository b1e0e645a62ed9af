"""Trains one network: `python train.py --config configs/umci_tiny.py [--field.subfield value]`."""

import argparse
import pathlib
import sys


def main(argv: list[str] | None = None) -> int:
    """Parses the command line, trains, prints where the result lies; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        epilog="Every field of the config is a flag too: --steps, --optimizer.learning-rate ...",
    )
    parser.add_argument("--config", required=True, type=pathlib.Path, help="configs/NAME.py")
    parser.add_argument("--output-dir", type=pathlib.Path, help="default: runs/NAME")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    args, overrides = parser.parse_known_args(argv)

    from zsas_jax.cli.common import (
        enable_compilation_cache,
        exit_on_error,
        load_config_file,
        parse_arguments,
    )

    with exit_on_error() as outcome:
        from zsas_jax.training.config import TrainConfig

        config = load_config_file(args.config, TrainConfig)
        config = parse_arguments(TrainConfig, overrides, config, "train.py", __doc__ or "")
        enable_compilation_cache()

        from zsas_jax.training.loop import train
        from zsas_jax.training.tasks import make_task

        output_dir = args.output_dir or pathlib.Path("runs") / args.config.stem
        result = train(config, make_task(config), output_dir, resume=args.resume)
        print(f"saved {result}" if result else f"stopped early: --resume continues {output_dir}")
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
