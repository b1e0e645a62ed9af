"""Training pictures of the generator: batches of random views of its pool."""

import functools
from collections.abc import Callable
from typing import Any

import grain
import numpy as np
from absl import flags
from jaxtyping import UInt8

from zsas_jax.data.pool import Pool, open_pool
from zsas_jax.training.augment import augment, is_good_surface
from zsas_jax.training.config import Generated, TrainConfig
from zsas_jax.training.devices import local_batches

Sampler = Callable[[dict[str, Any], np.random.Generator], dict[str, Any]]


def steps_per_epoch(config: TrainConfig, data: Generated) -> int:
    """Batches in one pass over the pool, at least one."""
    return max(data.pictures // config.batch_size, 1)


def generated_batches(
    config: TrainConfig, data: Generated, size: int, sample: Sampler
) -> grain.IterDataset:
    """Endless batches of random views of the pool at `size` x `size`, through `sample`."""
    pool = _pool(data)
    view = functools.partial(_view, pool, size, data, sample)
    samples = grain.MapDataset.source(pool).seed(config.seed).shuffle().repeat().random_map(view)
    batches = local_batches(samples, config.batch_size)
    if not data.processes:
        return batches.to_iter_dataset(grain.ReadOptions(data.workers, 4))
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # Grain's processes read absl's flags; nothing else here does.
    ours = batches.to_iter_dataset(grain.ReadOptions(1, 2))
    return ours.mp_prefetch(grain.MultiprocessingOptions(data.processes, per_worker_buffer_size=2))


def _view(
    pool: Pool,
    size: int,
    data: Generated,
    sample: Sampler,
    item: dict[str, Any],
    rng: np.random.Generator,
) -> dict[str, Any]:
    other = pool[int(rng.integers(len(pool)))]["image"]
    ground = None
    if data.foreign_ground and rng.random() < data.foreign_ground:
        ground = _good_surface(pool, rng)
    return sample(augment(item, rng, size, data, other, ground), rng)


def _good_surface(pool: Pool, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"] | None:
    """A picture of one; None where a few draws give objects or defects (a quarter are good)."""
    for _ in range(4):
        candidate = pool[int(rng.integers(len(pool)))]
        if is_good_surface(candidate):
            return candidate["image"]
    return None


def some_images(data: Generated, count: int = 512) -> UInt8[np.ndarray, "n h w 3"]:
    """Pictures spread evenly over the pool."""
    pool = _pool(data)
    return np.stack([pool[i]["image"] for i in range(0, len(pool), -(-len(pool) // count))])


def _pool(data: Generated) -> Pool:
    return open_pool(
        data.cache_dir,
        pictures=data.pictures,
        size=data.size,
        seed=data.seed,
        workers=data.workers,
    )
