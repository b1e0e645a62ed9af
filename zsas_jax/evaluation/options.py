"""What a caller of `evaluate` may choose beside the method: outputs, pace, and where it is from."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from zsas_jax.config import Between, check_fields

JOURNAL_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What is written beside tables and metrics."""

    overlays: int | None = 3
    """Pictures for each category, a third of them of good parts; None draws all."""
    pictures: Annotated[int, Between(0)] = 1
    """The report's pictures, so many of each kind and category: the best and the worst anomalous
    ones and the good ones of the highest score."""
    maps: bool = False
    """Write maps/ and masks/ at each photo's own size."""

    def __post_init__(self):
        check_fields(self, "outputs")


@dataclasses.dataclass(frozen=True)
class Pace:
    """How the work is done; no result depends on it."""

    batch_size: Annotated[int, Between(1)] = 8
    """Photos in one program on each device; large photos are taken fewer at a time."""
    devices: int | None = None
    """How many of this process's devices share a batch; None takes all."""
    journal_seconds: Annotated[float, Between(0)] = JOURNAL_SECONDS
    """Between two notes of what is done; 0 notes every batch."""
    progress: bool = True
    """Show a progress bar."""

    def __post_init__(self):
        check_fields(self, "pace")


@dataclasses.dataclass(frozen=True)
class Origin:
    """What the caller knows of data and weights."""

    fingerprint: str | None = None
    """Names the data and the weights, as a hash of them does. With it, results of the same
    fingerprint, settings and program are taken over: finished ones as they are, interrupted ones up
    to where they came. None computes everything anew."""
    warnings: Sequence[str] = ()
    """What readers of the report must know."""
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """More facts for the results' config (checkpoint, data directory ...)."""
