"""A pool of rendered training pictures on disk, memory-mapped: rendered once, read many times."""

import concurrent.futures
import contextlib
import hashlib
import json
import multiprocessing
import os
import pathlib
from collections.abc import Generator
from typing import Any

import filelock
import numpy as np
from tqdm import tqdm

from zsas_jax.data.synthetic import VERSION, TrainingSource
from zsas_jax.errors import DatasetError

_CHUNK = 64


class Pool:
    """Random access to a rendered pool: `pool[i]` is a dict of arrays and labels.

    Keys: image uint8 [S, S, 3], mask bool [S, S], segments uint8 [S, S] (0 is background),
    class_name and defect (str, "good" where normal).
    """

    def __init__(self, directory: pathlib.Path):
        self._directory = directory
        self._images = np.load(directory / "images.npy", mmap_mode="r")
        self._masks = np.load(directory / "masks.npy", mmap_mode="r")
        self._segments = np.load(directory / "segments.npy", mmap_mode="r")
        self._labels = json.loads((directory / "labels.json").read_text())

    def __reduce__(self):
        # Other processes map the files themselves: a pickled map holds the pictures.
        return Pool, (self._directory,)

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
    """Opens the pool of these settings, rendering first what of it is not there yet.

    Several processes may ask for the same pool: one renders, the others wait.

    Raises:
        DatasetError: no room on the disk.
    """
    settings = json.dumps([VERSION, pictures, size, seed])
    name = hashlib.sha256(settings.encode()).hexdigest()[:12]
    directory = pathlib.Path(cache_dir) / f"synthetic-{name}"
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(directory.with_suffix(".lock")):
            if not directory.is_dir():
                _render(directory, pictures=pictures, size=size, seed=seed, workers=workers)
    return Pool(directory)


def _render(directory: pathlib.Path, *, pictures: int, size: int, seed: int, workers: int) -> None:
    """Renders chunk by chunk into a directory beside; one that was interrupted goes on."""
    part = directory.with_suffix(".part")
    part.mkdir(exist_ok=True)
    rendered = part / "rendered.jsonl"  # a line of labels for every chunk that is there
    chunks = _whole_lines(rendered)
    shapes = {"images": (size, size, 3), "masks": (size, size), "segments": (size, size)}
    arrays = [
        _open_array(part / f"{name}.npy", (pictures, *shape), new=not chunks)
        for name, shape in shapes.items()
    ]
    starts = range(0, pictures, _CHUNK)
    jobs = [(seed, pictures, size, start, min(start + _CHUNK, pictures)) for start in starts]
    left = jobs[len(chunks) :]
    with (
        contextlib.closing(_rendered(left, workers)) as found,
        rendered.open("a") as lines,
    ):
        progress = tqdm(
            zip(left, found, strict=True),
            desc="rendering",
            unit="chunk",
            initial=len(chunks),
            total=len(jobs),
        )
        for (*_, start, stop), (*values, labels) in progress:
            for array, value in zip(arrays, values, strict=True):
                array[start:stop] = value
                array.flush()
            lines.write(json.dumps(labels) + "\n")
            lines.flush()
            chunks.append(labels)
    (part / "labels.json").write_text(json.dumps([label for labels in chunks for label in labels]))
    part.rename(directory)
    (directory / rendered.name).unlink()


def _whole_lines(path: pathlib.Path) -> list[Any]:
    """The lines of a file of JSON lines; a last one that was not finished is cut off."""
    if not path.is_file():
        return []
    whole = path.read_text().splitlines(keepends=True)
    if whole and not whole[-1].endswith("\n"):
        path.write_text("".join(whole[:-1]))
        del whole[-1]
    return [json.loads(line) for line in whole]


def _open_array(path: pathlib.Path, shape: tuple[int, ...], *, new: bool) -> np.memmap:
    """A mapped array with room on the disk: without, writing to the map would end the process."""
    array = np.lib.format.open_memmap(path, "w+" if new else "r+", np.uint8, shape)
    try:
        with path.open("r+b") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be rendered ({error.strerror}): expected {array.nbytes / 1e9:.1f} GB "
            f"of room for {shape[0]} pictures"
        ) from error
    return array


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


def _rendered(
    jobs: list[tuple[int, int, int, int, int]], workers: int
) -> Generator[tuple[Any, ...], None, None]:
    """The chunks in order; a single one, or a single worker's, without another process."""
    if min(workers, len(jobs)) <= 1:
        yield from map(_render_chunk, jobs)
        return
    # Spawned, not forked: this process may already run JAX's threads.
    context = multiprocessing.get_context("spawn")
    with (
        _single_threaded_blas(),
        concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as executor,
    ):
        try:
            yield from executor.map(_render_chunk, jobs)
        except BaseException:  # The reader's end too.
            executor.shutdown(cancel_futures=True)
            raise


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
