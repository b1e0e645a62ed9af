"""Batches: grouping by canvas, padding, failures, order, bounded read-ahead."""

import io
import threading
import time

import numpy as np
import PIL.Image
import pytest

from zsas_jax.data import loader
from zsas_jax.data.canvas import image_key
from zsas_jax.data.loader import iterate_batches


def record(index, image):
    return {
        "image": image,
        "mask": None,
        "name": f"{index}.png",
        "category": "object",
        "defect": "unlabeled",
        "label": -1,
    }


def photos(sizes):
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


SIZES = [(10, 20), (300, 5), (256, 256), (7, 300), (1, 1), (30, 30), (5, 301)]


def test_groups_by_canvas_and_pads():
    images = photos(SIZES)
    source = [record(index, image) for index, image in enumerate(images)]
    batches = list(iterate_batches(source, batch_size=2, seed=5))
    assert [batch.canvas.shape for batch in batches] == [
        (2, 256, 256, 3),
        (2, 384, 384, 3),
        (2, 256, 256, 3),
        (2, 384, 384, 3),  # One photo: padded to the program that exists already.
    ]
    assert [batch.indices[batch.valid].tolist() for batch in batches] == [
        [0, 2],
        [1, 3],
        [4, 5],
        [6],
    ]
    assert batches[-1].valid.tolist() == [True, False]
    assert batches[-1].sizes.tolist() == [[5, 301], [1, 1]]
    for batch in batches:
        assert [item["name"] for item in batch.records] == [
            f"{index}.png" for index in batch.indices[batch.valid]
        ]
        for row in np.flatnonzero(batch.valid):
            image = images[batch.indices[row]]
            height, width = batch.sizes[row]
            np.testing.assert_array_equal(batch.canvas[row, :height, :width], image)
            assert batch.keys[row] == image_key(5, image)


def test_small_groups_take_small_batches():
    source = [record(index, image) for index, image in enumerate(photos([(9, 9)] * 3 + [(600, 2)]))]
    batches = list(iterate_batches(source, batch_size=16))
    assert [(len(batch.canvas), int(batch.valid.sum())) for batch in batches] == [(4, 3), (1, 1)]


def test_keys_do_not_depend_on_the_batch():
    source = [record(index, image) for index, image in enumerate(photos(SIZES))]

    def keys(**options):
        return {
            int(index): int(key)
            for batch in iterate_batches(source, **options)
            for index, key in zip(batch.indices[batch.valid], batch.keys[batch.valid], strict=True)
        }

    assert keys(batch_size=1) == keys(batch_size=4)
    chosen = keys(indices=np.array([5, 1]), batch_size=4)
    assert chosen == {index: keys(batch_size=1)[index] for index in (1, 5)}
    assert set(keys(batch_size=1).values()).isdisjoint(keys(batch_size=1, seed=1).values())


def test_one_bad_photo_is_a_failure(tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no photo")
    stream = io.BytesIO()
    PIL.Image.fromarray(photos([(80, 90)])[0]).save(stream, "PNG")
    truncated = stream.getvalue()[:1000]
    images = [*photos([(4, 4)]), str(bad), truncated, *photos([(5, 5)]), str(tmp_path / "gone.png")]
    source = [record(index, image) for index, image in enumerate(images)]
    batches = list(iterate_batches(source, batch_size=1))
    assert [int(batch.valid.sum()) for batch in batches] == [1, 1, 0]
    failures = [failure for batch in batches for failure in batch.failures]
    assert [name for name, _ in failures] == ["1.png", "2.png", "4.png"]
    assert failures[0].message.startswith(f"{bad} is not an image")
    assert failures[1].message.startswith("2.png is truncated")
    assert batches[-1].canvas.shape == (0, 256, 256, 3)
    assert batches[-1].indices.shape == (0,)


def test_other_errors_of_a_source_are_raised():
    class Broken:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            raise RuntimeError("defect in the source")

    with pytest.raises(RuntimeError, match="defect in the source"):
        list(iterate_batches(Broken()))


class Drawn:
    """Draws pictures on demand and counts those that nobody has consumed yet."""

    def __init__(self, count, size, pause=0.0):
        self.count, self.size, self.pause = count, size, pause
        self.drawn, self.threads = 0, set()
        self._lock = threading.Lock()

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        with self._lock:
            self.drawn += 1
            self.threads.add(threading.get_ident())
        time.sleep(self.pause * (index % 3))  # Finishes out of order.
        return record(index, np.full((self.size, self.size, 3), index % 256, np.uint8))


def test_order_and_read_ahead_of_threads():
    source = Drawn(60, 8, pause=0.002)
    batches = iterate_batches(source, batch_size=4, threads=3)
    first = next(batches)
    assert first.indices.tolist() == [0, 1, 2, 3]
    assert source.drawn <= 4 + 2 * 2 * 3 + 1
    rest = [index for batch in batches for index in batch.indices[batch.valid].tolist()]
    assert rest == list(range(4, 60))
    assert len(source.threads) > 1
    assert threading.get_ident() not in source.threads


def test_memory_budget_limits_read_ahead_and_waiting_groups(monkeypatch):
    monkeypatch.setattr(loader, "MAX_BYTES", 500_000)
    decoding, peak, lock = 0, 0, threading.Lock()
    decode = loader.decode_image

    def counted(*arguments):
        nonlocal decoding, peak
        with lock:
            decoding += 1
            peak = max(peak, decoding)
        time.sleep(0.005)
        with lock:
            decoding -= 1
        return decode(*arguments)

    monkeypatch.setattr(loader, "decode_image", counted)
    # 270 kB each: one in flight at a time, and a group is handed on before it is full.
    batches = list(iterate_batches(Drawn(7, 300), batch_size=8, threads=4))
    assert peak == 1
    assert [int(batch.valid.sum()) for batch in batches] == [2, 2, 2, 1]
    assert sorted(i for b in batches for i in b.indices[b.valid].tolist()) == list(range(7))


def test_abandoned_iteration_stops_its_threads():
    before = threading.active_count()
    batches = iterate_batches(Drawn(1000, 8), batch_size=2, threads=2)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_empty_source():
    assert list(iterate_batches([])) == []


def test_real_photos(samples):
    from zsas_jax.data.folder import FolderSource

    batches = list(iterate_batches(FolderSource(samples / "photos"), batch_size=2))
    assert sum(int(batch.valid.sum()) for batch in batches) == 3
    assert not any(batch.failures for batch in batches)
