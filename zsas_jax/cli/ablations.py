"""`zsas ablations`: the papers' tables, variants trained and evaluated alike."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from zsas_jax.cli.common import Outcome, load_config_file, parse_arguments, set_up_xla

ABOUT = """Redoes tables of ablations: zsas ablations --config configs/ablations_tiny.py

What is done is kept, so that the same command goes on after an interruption."""


@dataclasses.dataclass(frozen=True)
class AblationsArguments:
    """What `zsas ablations` takes."""

    config: pathlib.Path
    """Python file whose CONFIG is an Ablations."""
    studies: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...")] = ()
    """Run only these."""
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")] = (0, 1, 2)
    """Seeds of the evaluation's pictures."""
    per_class: Annotated[int, tyro.conf.arg(metavar="N")] = 40
    """Pictures of each held-out class."""
    output_dir: pathlib.Path = pathlib.Path("results/ablations")
    """Where trained variants, results and the tables go."""


def main(argv: Sequence[str], outcome: Outcome, prog: str = "zsas ablations") -> None:
    """Runs the studies and prints their tables."""
    del outcome
    missing: Any = tyro.MISSING_NONPROP
    args = parse_arguments(AblationsArguments, argv, missing, prog, ABOUT)
    set_up_xla()

    from zsas_jax.ablations import Ablations, run

    config = load_config_file(args.config, Ablations)
    print(
        run(
            config,
            studies=args.studies,
            seeds=args.seeds,
            per_class=args.per_class,
            output_dir=args.output_dir,
        )
    )
