"""Ahead-of-time compilation of the program, before the first photo comes."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8, UInt32

from zsas_jax.config import PipelineConfig
from zsas_jax.errors import ConfigError
from zsas_jax.model import Model
from zsas_jax.ops.layers import cast_parameters
from zsas_jax.pipeline import Segmentation, segment
from zsas_jax.weights.checkpoint import Bundle


class CompiledSegment:
    """`segment` for one shape of batch: `compiled(images, sizes, text)`, and what it needs."""

    def __init__(
        self, model: Model, config: PipelineConfig, program: jax.stages.Compiled, seconds: float
    ):
        self.model, self.config, self.program = model, config, program
        self.compile_seconds = seconds
        (_, *inputs), _ = program.in_avals
        names = ("images", "sizes", "text", "keys")
        self.inputs = dict(zip(names, inputs, strict=True))
        """Shape and dtype of every argument."""

    @property
    def temporary_bytes(self) -> int | None:
        """Memory for intermediate values, beside weights, inputs and outputs; None if unknown."""
        analysis = self.program.memory_analysis()
        return None if analysis is None else analysis.temp_size_in_bytes

    def __call__(
        self,
        images: UInt8[Array | np.ndarray, "b h w 3"],
        sizes: Int[Array | np.ndarray, "b 2"],
        text: Float[Array | np.ndarray, "b 2 d"],
        keys: UInt32[Array | np.ndarray, " b"] | None = None,
    ) -> Segmentation:
        """As `segment`; keys default to 0, 1, 2, ...

        Raises:
            ConfigError: an argument of another shape or dtype than was compiled for.
        """
        if keys is None:
            keys = np.arange(len(images), dtype=np.uint32)
        given = {"images": images, "sizes": sizes, "text": text, "keys": keys}
        for name, array in given.items():
            expected = self.inputs[name]  # pyright: ignore[reportArgumentType]
            if (array.shape, array.dtype) != (expected.shape, expected.dtype):
                raise ConfigError(
                    f"{name} is {array.dtype}{list(array.shape)}: expected "
                    f"{expected.dtype}{list(expected.shape)}, for which this was compiled"
                )
        return self.program(self.model, *given.values())


def compile(
    bundle: Bundle,
    shape: tuple[int, int],
    batch_size: int = 1,
    method: str | None = None,
    **settings: Any,
) -> CompiledSegment:
    """Compiles `segment` now for batches of one shape, so that the first batch does not wait.

    Args:
        bundle: networks and settings, as `zsas_jax.load` returns them.
        shape: (height, width) of the canvas in pixels; photos may be smaller.
        batch_size: photos in a batch.
        method: "cascade", "clipsam", "umci" or "clip"; default the checkpoint's.
        **settings: other fields of `PipelineConfig` that differ from the checkpoint's.

    Raises:
        ConfigError: sizes below 1, an unknown setting, or a network that the method lacks.
    """
    if len(shape) != 2 or min(*shape, batch_size) < 1:
        raise ConfigError(
            f"shape is {shape} and batch_size {batch_size}: expected (height, width) in pixels "
            "and a number of photos, at least 1 each"
        )
    fields = {field.name for field in dataclasses.fields(PipelineConfig)}
    unknown = sorted(set(settings) - fields)
    if unknown:
        raise ConfigError(f"PipelineConfig has no field {unknown[0]!r}")
    if method is not None:
        settings["method"] = method
    config = dataclasses.replace(bundle.config.pipeline, **settings)
    if bundle.model.clip is None:
        raise ConfigError("segment needs a CLIP, and this checkpoint has none")
    model = cast_parameters(bundle.model, config.compute_dtype)
    started = time.perf_counter()
    program = lower(model, shape, batch_size, config).compile()
    return CompiledSegment(model, config, program, time.perf_counter() - started)


def lower(
    model: Model, shape: tuple[int, int], batch_size: int, config: PipelineConfig
) -> jax.stages.Lowered:
    """`segment` traced for one shape of batch; the model's arrays may be abstract."""
    assert model.clip is not None
    arguments = (
        jax.ShapeDtypeStruct((batch_size, *shape, 3), jnp.uint8),
        jax.ShapeDtypeStruct((batch_size, 2), jnp.int32),
        jax.ShapeDtypeStruct((batch_size, 2, model.clip.config.embed_dim), jnp.float32),
        jax.ShapeDtypeStruct((batch_size,), jnp.uint32),
    )
    return segment.lower(model, *arguments, config=config)
