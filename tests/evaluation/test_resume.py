import os

import jax
import numpy as np
import pytest

from zsas_jax.evaluation.resume import Journal, run_key, tree_fingerprint


def test_what_was_saved_comes_back_under_its_own_key_alone(tmp_path):
    facts, arrays = {"score": 0.1 + 0.2, "name": "ü"}, {"0/pixels": np.arange(5)}
    Journal(tmp_path, "key").save(facts, arrays)
    found, stored = Journal(tmp_path, "key").load()
    assert found == facts
    np.testing.assert_array_equal(stored["0/pixels"], np.arange(5))
    assert Journal(tmp_path, "another").load() is None
    Journal(tmp_path, "key").remove()
    assert Journal(tmp_path, "key").load() is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [0, 10, 200])
def test_a_damaged_journal_counts_for_nothing(tmp_path, kept):
    journal = Journal(tmp_path, "key")
    journal.save({}, {"a": np.zeros(100)})
    journal.path.write_bytes(journal.path.read_bytes()[:kept])
    assert journal.load() is None


def test_saving_takes_a_small_share_of_the_time(tmp_path):
    times = iter([0.0, 1.9, 2.0, 2.0, 3.0, 22.9, 23.0])  # saving lasts from 2 to 3
    journal = Journal(tmp_path, "key", interval=2.0, clock=lambda: next(times))
    assert not journal.is_due()
    assert journal.is_due()
    journal.save({}, {})
    assert not journal.is_due()
    assert journal.is_due()


def test_fingerprints_follow_the_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "ü 1.jpg").write_bytes(b"123")
    first = tree_fingerprint(tmp_path)
    assert tree_fingerprint(tmp_path, None) == first
    assert tree_fingerprint(None) is None
    os.utime(tmp_path / "a" / "ü 1.jpg", ns=(1, 1))
    touched = tree_fingerprint(tmp_path)
    (tmp_path / "a" / "ü 1.jpg").rename(tmp_path / "a" / "ü 2.jpg")
    renamed = tree_fingerprint(tmp_path)
    assert len({first, touched, renamed}) == 3
    assert run_key({"a": 1}, data=first) != run_key({"a": 1}, data=touched)
    key = run_key({"a": 1}, data=first)
    assert key == run_key({"a": 1}, data=first)
    with jax.default_matmul_precision("bfloat16"):
        assert key != run_key({"a": 1}, data=first)


def test_fingerprints_follow_links(tmp_path):
    root = tmp_path / "root"
    for name in ("root/own", "one"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.jpg").write_bytes(b"123")
    (root / "linked").symlink_to(tmp_path / "one")
    (root / "own" / "up").symlink_to(root)
    first = tree_fingerprint(root)
    os.utime(tmp_path / "one" / "a.jpg", ns=(1, 1))
    touched = tree_fingerprint(root)
    (root / "second").symlink_to(tmp_path / "one")
    twice = tree_fingerprint(root)
    (root / "second").unlink()
    (root / "second").symlink_to(root / "own")
    assert len({first, touched, twice, tree_fingerprint(root)}) == 4


def test_fingerprints_leave_out_what_evaluations_wrote(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"123")
    first = tree_fingerprint(tmp_path)
    results = tmp_path / "results" / "folder" / "umci"
    (results / "overlays").mkdir(parents=True)
    for name in ("run.json", "small_maps.npy", "overlays/a.jpg.jpg"):
        (results / name).write_bytes(b"1")
    (tmp_path / "results" / "report.html").write_text("")
    (tmp_path / "results" / "comparison.md").write_text("")
    assert tree_fingerprint(tmp_path) == first
    (results / "small_maps.npy").unlink()  # somebody's own run.json
    assert tree_fingerprint(tmp_path) != first
