"""`zsas promptable`: what a SAM segments from one click or one box."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from zsas_jax.cli.common import Outcome, parse_arguments, set_up_xla
from zsas_jax.errors import ConfigError

ABOUT = """IoU of a SAM's masks from one click or one box, on held-out synthetic pictures.

Targets are objects, their parts and pieces of defects. `oracle` is the best of a click's three
masks, `filled box` what no network is needed for."""


@dataclasses.dataclass(frozen=True)
class PromptableArguments:
    """What `zsas promptable` takes."""

    checkpoint: str = "tiny"
    """A checkpoint's directory, or the name of one that comes with zsas_jax."""
    per_class: Annotated[int, tyro.conf.arg(metavar="N")] = 12
    """Pictures of each held-out class."""
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N ...")] = (0,)
    """Seeds of the pictures."""


def main(argv: Sequence[str], outcome: Outcome, prog: str = "zsas promptable") -> None:
    """Prints a table of mean IoU by kind and size of target."""
    del outcome
    missing: Any = tyro.MISSING_NONPROP
    args = parse_arguments(PromptableArguments, argv, missing, prog, ABOUT)
    set_up_xla()

    from zsas_jax.checkpoints import load, read_config
    from zsas_jax.networks.sam import NETWORK
    from zsas_jax.promptable import measure

    if NETWORK.name not in read_config(args.checkpoint).networks:
        raise ConfigError(f"checkpoint {args.checkpoint} has no SAM: expected one with a SAM")
    sam = load(args.checkpoint, networks=[NETWORK.name]).model.sam
    print(measure(sam, args.seeds, args.per_class))
