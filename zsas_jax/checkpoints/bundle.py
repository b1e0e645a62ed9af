"""What a checkpoint holds in memory: networks, tokenizers and settings."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from zsas_jax.config import Between, check_fields
from zsas_jax.networks import Networks


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the host calls anomalous; another threshold is no other program.

    Chosen on a checkpoint's training classes for one method: maps and scores of another method have
    another scale.
    """

    mask_threshold: Annotated[float, Between(0, 1)] = 0.5
    """Pixels at or above are anomalous."""
    image_threshold: Annotated[float, Between(0, 1)] = 0.5
    """Images scored at or above are anomalous."""

    def __post_init__(self):
        check_fields(self, "verdict")


@dataclasses.dataclass(frozen=True)
class Compute:
    """How a program computes, not what: static in the program, part of no method's config."""

    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Dtype in which the networks compute; scores and norms stay in at least float32. On CPUs
    "bfloat16" is for matrix products alone. On GPUs and TPUs JAX computes float32 products
    in TF32 and bfloat16, unless JAX_DEFAULT_MATMUL_PRECISION is "float32"."""
    refine_at_a_time: Annotated[int, Between(0)] = 0
    """Photos that the refiner (SAM) takes at a time, those first whose rough map reaches the
    threshold; it does not run for the others, which it would not change. 0 runs it once on the
    whole batch. On a line where most parts are good, 1 is fastest on a CPU."""

    def __post_init__(self):
        check_fields(self, "compute")


@dataclasses.dataclass(frozen=True)
class Config:
    """A checkpoint's settings.

    Settings of methods are kept as JSON types: `zsas_jax.methods.settings` makes a method's config
    of them.
    """

    networks: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Name -> the network's config, of those that the checkpoint has."""
    method: str = ""
    """The checkpoint's own method; empty: none is named."""
    methods: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Method -> its settings, as far as they differ from the method's defaults."""
    verdicts: Mapping[str, Verdict] = dataclasses.field(default_factory=dict)
    """Method -> thresholds that were chosen for it."""
    compute: Compute = Compute()


class Bundle(NamedTuple):
    """What `load` returns."""

    model: Networks
    tokenizers: Mapping[str, Any]
    """Network -> its text tokenizer, of networks that have one."""
    config: Config

    @property
    def tokenizer(self) -> Any:
        """The only tokenizer, or the first of several; None where there is none."""
        return next(iter(self.tokenizers.values()), None)


def join(first: Bundle, second: Bundle) -> Bundle:
    """Networks, tokenizers and settings of both; of what both have the second's count."""
    own = {name: getattr(second.model, name) for name in second.model.names}
    # Another network's vocabulary has other numbers.
    kept = {name: found for name, found in first.tokenizers.items() if name not in own}
    config = join_configs(first.config, second.config)
    return Bundle(first.model.replace(**own), {**kept, **second.tokenizers}, config)


def join_configs(first: Config, second: Config) -> Config:
    """Sizes and settings of both; of what both have the second's count."""
    return Config(
        {**first.networks, **second.networks},
        second.method or first.method,
        {**first.methods, **second.methods},
        {**first.verdicts, **second.verdicts},
        second.compute,
    )
