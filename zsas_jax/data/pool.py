"""A pool of rendered training pictures on disk, memory-mapped: rendered once, read many times."""

import concurrent.futures
import contextlib
import hashlib
import json
import multiprocessing
import os
import pathlib
import shutil
from typing import Any

import numpy as np
from tqdm import tqdm

from zsas_jax.data.synthetic import TrainingSource

# Raised when a change of the generator makes old pools stale.
GENERATOR_VERSION = 9
_CHUNK = 64


class Pool:
    """Random access to a rendered pool: `pool[i]` is a dict of arrays and labels.

    Keys: image uint8 [S, S, 3], mask bool [S, S], segments uint8 [S, S] (0 is background),
    class_name and defect (str, "good" where normal).
    """

    def __init__(self, directory: pathlib.Path):
        self._images = np.load(directory / "images.npy", mmap_mode="r")
        self._masks = np.load(directory / "masks.npy", mmap_mode="r")
        self._segments = np.load(directory / "segments.npy", mmap_mode="r")
        self._labels = json.loads((directory / "labels.json").read_text())

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        class_name, defect = self._labels[index]
        return {
            "image": np.asarray(self._images[index]),
            "mask": np.asarray(self._masks[index]) > 0,
            "segments": np.asarray(self._segments[index]),
            "class_name": class_name,
            "defect": defect,
        }


def open_pool(
    cache_dir: str | os.PathLike[str], *, pictures: int, size: int, seed: int, workers: int = 1
) -> Pool:
    """Opens the pool of these settings, rendering it first where it is not there yet."""
    settings = json.dumps([GENERATOR_VERSION, pictures, size, seed])
    name = hashlib.sha256(settings.encode()).hexdigest()[:12]
    directory = pathlib.Path(cache_dir) / f"synthetic-{name}"
    if not directory.is_dir():
        _render(directory, pictures=pictures, size=size, seed=seed, workers=workers)
    return Pool(directory)


def _render(directory: pathlib.Path, *, pictures: int, size: int, seed: int, workers: int) -> None:
    part = directory.with_name(directory.name + f".part{os.getpid()}")
    part.mkdir(parents=True)
    shapes = {"images": (size, size, 3), "masks": (size, size), "segments": (size, size)}
    arrays = {
        name: np.lib.format.open_memmap(
            part / f"{name}.npy", mode="w+", dtype=np.uint8, shape=(pictures, *shape)
        )
        for name, shape in shapes.items()
    }
    labels: list[tuple[str, str]] = []
    starts = range(0, pictures, _CHUNK)
    # Spawned, not forked: the parent may already run JAX's threads.
    context = multiprocessing.get_context("spawn")
    with (
        _single_threaded_blas(),
        concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as executor,
    ):
        jobs = executor.map(
            _render_chunk,
            [(seed, pictures, size, start, min(start + _CHUNK, pictures)) for start in starts],
        )
        for start, chunk in tqdm(
            zip(starts, jobs, strict=True), total=len(starts), desc="rendering", unit="chunk"
        ):
            stop = start + len(chunk[3])
            for array, values in zip(arrays.values(), chunk[:3], strict=True):
                array[start:stop] = values
            labels += chunk[3]
    for array in arrays.values():
        array.flush()
    (part / "labels.json").write_text(json.dumps(labels))
    try:
        part.rename(directory)
    except OSError:  # Another process rendered the same pool meanwhile.
        shutil.rmtree(part)


@contextlib.contextmanager
def _single_threaded_blas():
    """Workers started meanwhile run small matrix products on one thread: theirs is a core each."""
    old = os.environ.get("OPENBLAS_NUM_THREADS")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        del os.environ["OPENBLAS_NUM_THREADS"]
        if old is not None:
            os.environ["OPENBLAS_NUM_THREADS"] = old


def _render_chunk(job: tuple[int, int, int, int, int]):
    seed, length, size, start, stop = job
    source = TrainingSource(seed=seed, length=length, size=size)
    items = [source[index] for index in range(start, stop)]
    return (
        np.stack([item["image"] for item in items]),
        np.stack([item["mask"] for item in items]).astype(np.uint8),
        np.stack([np.minimum(item["segments"], 255) for item in items]).astype(np.uint8),
        [(item["class_name"], item["defect"]) for item in items],
    )
