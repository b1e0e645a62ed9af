"""Batches of a source's photos with their maps, the device always one batch ahead."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from zsas_jax.checkpoints.bundle import Bundle, Compute, Verdict
from zsas_jax.data import loader
from zsas_jax.data.canvas import batch_size_for
from zsas_jax.data.sources import AnomalySource
from zsas_jax.evaluation.stopwatch import Steps
from zsas_jax.methods import find_method
from zsas_jax.methods import verdict as verdict_of
from zsas_jax.methods.base import ALL_STAGES, Maps, Photos, Request, rows_of
from zsas_jax.ops.layers import cast_parameters
from zsas_jax.parallel import data_parallel
from zsas_jax.predict import chosen


class Chosen(NamedTuple):
    """A method and everything that it is run with."""

    method: str
    config: Any
    verdict: Verdict
    compute: Compute
    request: Request


def choose(
    bundle: Bundle,
    method: str | None,
    config: Any,
    verdict: Verdict | None,
    compute: Compute | None,
    request: Request,
) -> Chosen:
    """What was given, and for the rest what the checkpoint has.

    Raises:
        ConfigError: an unknown method, a config of another one, a network that the checkpoint
            lacks or that does not fit.
    """
    name, config = chosen(bundle, method, config)
    verdict = verdict or verdict_of(bundle.config, name)
    return Chosen(name, config, verdict, compute or bundle.config.compute, request)


class Batches:
    """Turns positions in the source into batches with their maps.

    What a method makes of categories is computed with the first batch, and once.
    """

    def __init__(
        self,
        bundle: Bundle,
        source: AnomalySource,
        choice: Chosen,
        batch_size: int,
        seed: int,
        devices: Sequence[jax.Device],
        steps: Steps,
    ):
        self._bundle, self._source, self._choice, self._steps = bundle, source, choice, steps
        self._batch_size, self._seed, self._devices = batch_size, seed, devices
        self._shapes: set[tuple[int, ...]] = set()

    def full_size(self, canvas: int) -> int:
        """Photos of a whole batch."""
        return len(self._devices) * batch_size_for(canvas, self._batch_size)

    def iterate(
        self, indices: Sequence[int], compiled: Iterable[int] = ()
    ) -> Iterator[tuple[loader.Batch, Maps | None]]:
        """Yields each batch when the next one is already on its way to the device.

        The maps of a batch without photos are None. `compiled` as of `iterate_batches`.
        """
        if not len(indices):
            return
        with self._steps.timed("prepare"):
            segment = self._prepared()
        batches = iter(
            loader.iterate_batches(
                self._source,
                indices,
                self._batch_size,
                self._seed,
                devices=len(self._devices),
                compiled=tuple(compiled),
            )
        )
        waiting = None
        while True:
            with self._steps.timed("decode"):
                batch = next(batches, None)
            maps = segment(batch) if batch is not None and batch.records else None
            if waiting is not None:
                yield waiting
            if batch is None:
                return
            waiting = batch, maps

    def _prepared(self) -> Callable[[loader.Batch], Maps]:
        method, config, _, compute, request = self._choice
        categories = list(self._source.categories)
        context = find_method(method).prepare(self._bundle, categories, config, request)
        context = jax.device_get(context)
        row_of = {name: row for row, name in enumerate(categories)}
        run = data_parallel(cast_parameters(self._bundle.model, compute.dtype), self._devices)

        def segment(batch: loader.Batch) -> Maps:
            rows = np.zeros(len(batch.valid), np.int32)  # padding: any row
            rows[: len(batch.records)] = [row_of[record["category"]] for record in batch.records]
            photos = Photos(batch.canvas, batch.sizes, batch.keys)  # pyright: ignore
            # A new canvas is a new program; otherwise the call returns at once.
            step = "device" if batch.canvas.shape in self._shapes else "compile"
            self._shapes.add(batch.canvas.shape)
            with self._steps.timed(step):
                return run(
                    photos,
                    rows_of(context, rows),
                    method=method,
                    config=config,
                    compute=compute,
                    keep=ALL_STAGES,
                )

        return segment
