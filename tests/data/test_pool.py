"""Rendering of the training pool: interruptions, several processes, a full disk."""

import concurrent.futures
import errno
import os

import numpy as np
import pytest

from zsas_jax.data import pool
from zsas_jax.errors import DatasetError

SETTINGS = {"pictures": 7, "size": 32, "seed": 3}


@pytest.fixture
def jobs(monkeypatch):
    """Two pictures a chunk; the first pictures of the chunks that were rendered here."""
    done, render = [], pool._render_chunk

    def noted(job):
        done.append(job[3])
        return render(job)

    monkeypatch.setattr(pool, "_CHUNK", 2)
    monkeypatch.setattr(pool, "_render_chunk", noted)
    return done


def contents(found):
    return [(*map(np.asarray, found[i].values()),) for i in range(len(found))]


def test_an_interrupted_rendering_goes_on(jobs, tmp_path, monkeypatch):
    whole = pool.open_pool(tmp_path / "whole", **SETTINGS)
    assert jobs == [0, 2, 4, 6]
    jobs.clear()
    render = pool._render_chunk

    def killed(job):
        if job[3] == 4:
            raise KeyboardInterrupt
        return render(job)

    monkeypatch.setattr(pool, "_render_chunk", killed)
    with pytest.raises(KeyboardInterrupt):
        pool.open_pool(tmp_path / "cut", **SETTINGS)
    (part,) = (tmp_path / "cut").glob("*.part")
    # The last line was being written.
    with (part / "rendered.jsonl").open("a") as file:
        file.write('[["mat')
    jobs.clear()
    monkeypatch.setattr(pool, "_render_chunk", render)
    cut = pool.open_pool(tmp_path / "cut", **SETTINGS)
    assert jobs == [4, 6]
    for one, other in zip(contents(whole), contents(cut), strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    assert not list((tmp_path / "cut").glob("*.part"))


def test_several_workers_render_what_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_CHUNK", 4)
    one = pool.open_pool(tmp_path / "one", **SETTINGS)
    two = pool.open_pool(tmp_path / "two", **SETTINGS, workers=2)
    for a, b in zip(contents(one), contents(two), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_processes_that_ask_for_the_same_pool_render_it_once(jobs, tmp_path):
    with concurrent.futures.ThreadPoolExecutor(3) as executor:
        found = list(
            executor.map(lambda _: pool.open_pool(tmp_path, **SETTINGS), range(3), timeout=60)
        )
    assert [len(one) for one in found] == [7, 7, 7]
    assert jobs == [0, 2, 4, 6]


def test_a_full_disk_is_one_sentence_before_anything_is_rendered(jobs, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DatasetError, match=r"No space left on device.*room for 7 pictures"):
        pool.open_pool(tmp_path, **SETTINGS)
    assert not jobs
