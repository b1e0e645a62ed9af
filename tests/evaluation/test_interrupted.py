import errno
import json
import resource
import subprocess
import sys

import numpy as np
import pytest
from toy_method import Source, run

from zsas_jax.errors import ConfigError
from zsas_jax.evaluation import measure, results
from zsas_jax.evaluation.maps import open_small_maps
from zsas_jax.files import sole_writer

EVERY_BATCH = {"fingerprint": "data", "journal_seconds": 0.0}


def without_timing(directory):
    stored = json.loads((directory / "metrics.json").read_text())
    del stored["timing"]
    return stored


@pytest.mark.parametrize(("fatal", "noted"), [(3, 2), (9, 8)])
def test_an_interrupted_run_goes_on_with_the_same_result(tmp_path, fatal, noted):
    options = {**EVERY_BATCH, "batch_size": 2, "maps": True, "pictures": 1}
    whole = run(Source(broken={4}), tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        run(Source(broken={4}, fatal=fatal), tmp_path / "cut", **options)
    directory = tmp_path / "cut" / "mvtec" / "toy"
    assert not (directory / "metrics.json").exists()
    (directory / "overlays").mkdir(exist_ok=True)
    (directory / "overlays" / ".half.part").write_text("x")
    source = Source(broken={4})
    result = run(source, tmp_path / "cut", **options)
    assert result.reused == noted == 10 - len(source.reads)
    assert without_timing(directory) == without_timing(whole.directory)
    names = {p.relative_to(whole.directory) for p in whole.directory.rglob("*") if p.is_file()}
    assert {p.relative_to(directory) for p in directory.rglob("*") if p.is_file()} == names
    assert "journal.npz" not in {name.name for name in names}
    for name in names:
        if name.name != "metrics.json":
            assert (directory / name).read_bytes() == (whole.directory / name).read_bytes(), name
    assert result.failures == whole.failures


def test_photos_that_can_be_read_again_are_no_failures(tmp_path):
    class Away(Source):
        def __getitem__(self, index):
            if index == 0:
                raise OSError("no route to host")
            return super().__getitem__(index)

    options = {**EVERY_BATCH, "batch_size": 1}
    with pytest.raises(KeyboardInterrupt):
        run(Away(broken={1}, fatal=7), tmp_path, **options)
    result = run(Source(), tmp_path, **options)
    assert result.reused == 5
    assert result.failures == []
    assert len(result.scores) == 10


def test_one_process_writes_results_at_a_time(tmp_path):
    directory = tmp_path / "mvtec" / "toy"
    code = (
        "import sys; from zsas_jax.files import sole_writer\n"
        "with sole_writer(sys.argv[1]): print('ready', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(ConfigError, match=r"mvtec/toy.*another --output-dir"):
            run(Source(), tmp_path)
        other.kill()  # One that dies lets go.
    scores = run(Source(), tmp_path, fingerprint="data").scores
    assert len(scores) > 0
    with sole_writer(directory):  # Finished results are only read.
        assert run(Source(), tmp_path, fingerprint="data").scores == scores


def test_an_interruption_while_old_results_are_removed(tmp_path, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    options = {"fingerprint": "data", "maps": True}
    whole = run(Source(), tmp_path, **options)
    with monkeypatch.context() as patched:
        patched.setattr(results.shutil, "rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(Source(), tmp_path, overwrite=True, **options)
    again = run(Source(), tmp_path, **options)
    assert again.reused == 0
    assert again.scores == whole.scores


def test_a_full_disk_keeps_what_was_computed(tmp_path, monkeypatch):
    saved = []

    def save(path, *args):
        saved.append(path)
        if len(saved) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")

    options = {**EVERY_BATCH, "batch_size": 1, "maps": True}
    with monkeypatch.context() as patched:
        patched.setattr(measure, "save_mask_png", save)
        with pytest.raises(OSError, match="No space left"):
            run(Source(), tmp_path, **options)
    assert run(Source(), tmp_path, **options).reused == 4


def test_small_maps_that_do_not_fit_leave_nothing(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            open_small_maps(tmp_path, 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    maps = open_small_maps(tmp_path, 20)
    assert maps.shape == (20, 48, 48)
    assert np.isnan(maps).all()


def test_finished_results_are_taken_over_while_nothing_changed(tmp_path):
    first = run(Source(broken={3}), tmp_path, fingerprint="data")
    source = Source(broken={3})
    again = run(source, tmp_path, fingerprint="data")
    assert source.reads == []
    assert again._replace(reused=0) == first
    assert again.reused == 9


@pytest.mark.parametrize(
    "changed",
    [
        {"fingerprint": "other photos"},
        {"fingerprint": None},
        {"fingerprint": "data", "overwrite": True},
        {"fingerprint": "data", "pictures": 1},
    ],
)
def test_what_changed_is_computed_anew(tmp_path, changed):
    run(Source(), tmp_path, fingerprint="data")
    source = Source()
    assert run(source, tmp_path, **changed).reused == 0
    assert len(source.reads) == 10


def test_half_of_the_results_is_none(tmp_path):
    directory = run(Source(), tmp_path, fingerprint="data").directory
    (directory / "metrics.json").unlink()
    assert run(Source(), tmp_path, fingerprint="data").reused == 0
