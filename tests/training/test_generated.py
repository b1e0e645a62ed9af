"""Batches of views of the generator's pool: the same from threads and from processes."""

import dataclasses
import itertools
import pickle

import numpy as np

from zsas_jax.data.pool import open_pool
from zsas_jax.training.config import DataConfig, TrainConfig
from zsas_jax.training.generated import generated_batches


def sample(view, rng):
    return {"image": view["image"], "noise": np.float32(rng.normal())}


def test_processes_make_the_batches_of_threads_and_go_on_where_they_stopped(tmp_path):
    data = DataConfig(pictures=6, size=64, cache_dir=str(tmp_path), workers=1, foreign_patch=0.5)
    config = TrainConfig(task="clip", steps=1, batch_size=2, data=data)

    def batches(processes):
        changed = dataclasses.replace(data, processes=processes)
        return iter(generated_batches(dataclasses.replace(config, data=changed), 32, sample))

    expected = list(itertools.islice(batches(0), 6))
    running = batches(2)
    found = [next(running) for _ in range(3)]
    state = running.get_state()
    resumed = batches(2)
    resumed.set_state(state)
    found += [next(resumed) for _ in range(3)]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["noise"], other["noise"])


def test_a_pickled_pool_is_its_directory(tmp_path):
    pool = open_pool(tmp_path, pictures=3, size=64, seed=0)
    pickled = pickle.dumps(pool)
    assert len(pickled) < 1000
    np.testing.assert_array_equal(pickle.loads(pickled)[2]["image"], pool[2]["image"])
