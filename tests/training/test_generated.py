"""Batches of views of the generator's pool: the same from threads and from processes."""

import dataclasses
import itertools
import json
import pickle

import numpy as np
import pytest
from small_world import small_pool

from zsas_jax.data.pool import Pool, open_pool
from zsas_jax.training.config import Generated, TaskConfig, TrainConfig
from zsas_jax.training.generated import _view, generated_batches


def sample(view, rng):
    return {"image": view["image"], "noise": np.float32(rng.normal())}


@pytest.mark.full
def test_processes_make_the_batches_of_threads_and_go_on_where_they_stopped(tmp_path):
    data = small_pool(tmp_path, foreign_patch=0.5)
    config = TrainConfig(TaskConfig(), steps=1, batch_size=2)

    def batches(processes):
        changed = dataclasses.replace(data, processes=processes)
        return iter(generated_batches(config, changed, 32, sample))

    expected = list(itertools.islice(batches(0), 4))
    running = batches(2)
    found = [next(running) for _ in range(2)]
    state = running.get_state()
    resumed = batches(2)
    resumed.set_state(state)
    found += [next(resumed) for _ in range(2)]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["noise"], other["noise"])


def test_a_pickled_pool_is_its_directory(tmp_path):
    pool = open_pool(tmp_path, pictures=3, size=64, seed=0)
    pickled = pickle.dumps(pool)
    assert len(pickled) < 1000
    np.testing.assert_array_equal(pickle.loads(pickled)[2]["image"], pool[2]["image"])


def write_pool(directory, levels, segments, defects):
    """A pool of pictures of one grey level each."""
    shape = (len(levels), 32, 32)
    levels = np.array(levels, np.uint8)[:, None, None, None]
    np.save(directory / "images.npy", np.broadcast_to(levels, (*shape, 3)))
    np.save(directory / "masks.npy", np.zeros(shape, np.uint8))
    np.save(directory / "segments.npy", np.stack(segments))
    (directory / "labels.json").write_text(json.dumps([("part", defect) for defect in defects]))
    return Pool(directory)


def test_objects_get_the_grounds_of_good_surfaces(tmp_path):
    empty = np.zeros((32, 32), np.uint8)
    square = empty.copy()
    square[8:20, 8:20] = 1
    pool = write_pool(tmp_path, [250, 0, 0], [empty, empty, square], ["good", "hole", "good"])
    thing = {**pool[2], "image": np.full((32, 32, 3), 100, np.uint8)}
    rng = np.random.default_rng(0)

    def changed(share: float) -> float:
        data = Generated(full_picture=1.0, grey=1.0, foreign_ground=share)
        views = [_view(pool, 32, data, lambda view, rng: view, thing, rng) for _ in range(60)]
        return float(np.mean([np.ptp(view["image"][..., 0]) > 1 for view in views]))

    assert changed(0.0) == 0
    # One of three is a good surface: four draws find it in four of five cases.
    assert 0.65 < changed(1.0) < 0.95
    assert 0.2 < changed(0.5) < 0.6
