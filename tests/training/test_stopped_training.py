"""Runs that are killed, stopped, or spread over devices and processes: the same result."""

import csv
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import small_world

pytestmark = pytest.mark.full

# The Makefile's: the same on both sides, and compiling is most of these tests.
QUICK = os.environ.get("QUICK_COMPILATION", "")
TOY = pathlib.Path(__file__).with_name("toy_run.py")
ROOT = pathlib.Path(__file__).resolve().parents[2]


def _start(output, *options, devices=1):
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "XLA_FLAGS": f"{QUICK} --xla_force_host_platform_device_count={devices}",
    }
    return subprocess.Popen(
        [sys.executable, str(TOY), str(output), *map(str, options)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _run(output, *options, devices=1):
    process = _start(output, *options, devices=devices)
    text, _ = process.communicate(timeout=600)
    assert process.returncode == 0, text
    return text


def _trained(output):
    with np.load(output / "trained.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def _losses(output):
    with (output / "log.csv").open() as file:
        return {int(row["step"]): float(row["loss"]) for row in csv.DictReader(file)}


def _steps_done(output):
    try:
        return max(_losses(output), default=0)
    except (OSError, ValueError, TypeError, KeyError):
        return 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "run"
    _run(output)
    return output


def _assert_same(output, whole):
    expected = _trained(whole)
    for name, values in _trained(output).items():
        np.testing.assert_array_equal(values, expected[name])


def test_killed_ten_times_at_random_a_run_ends_as_if_it_never_was(whole, tmp_path):
    rng = random.Random(0)
    output = tmp_path / "run"
    kills = 0
    while kills < 10:
        resume = ["--resume"] if (output / "config.json").exists() else []
        before = _steps_done(output)
        process = _start(output, *resume, "--seconds", 0.1)
        # From the first steps on, in the middle of saves too.
        while process.poll() is None and _steps_done(output) <= before and before < 90:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.6))
        if process.poll() is not None:
            pytest.fail(process.communicate()[0])
        process.kill()
        process.communicate()
        kills += 1
    _run(output, "--resume")
    _assert_same(output, whole)
    assert _losses(output) == _losses(whole)


def test_stopped_ten_times_by_sigterm_a_run_saves_ends_well_and_goes_on(whole, tmp_path):
    output = tmp_path / "run"
    rng = random.Random(1)
    for _ in range(10):
        resume = ["--resume"] if (output / "config.json").exists() else []
        before = _steps_done(output)
        process = _start(output, *resume, "--seconds", 0.1)
        while _steps_done(output) <= before and before < 90:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.4))
        process.send_signal(signal.SIGTERM)
        text, _ = process.communicate(timeout=300)
        assert process.returncode == 0, text
        assert not (output / "trained.npz").exists()
        stopped = _steps_done(output)
        assert str(stopped) in [path.name for path in (output / "checkpoints").iterdir()]
    _run(output, "--resume")
    _assert_same(output, whole)
    assert _losses(output) == _losses(whole)


def _two_processes(output, *options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    joined = [_start(output, *options, "--join", port, i, devices=4) for i in range(2)]
    texts = [process.communicate(timeout=600)[0] for process in joined]
    assert [process.returncode for process in joined] == [0, 0], "\n".join(texts)


@pytest.mark.parametrize("what", ["points", "umci"])
def test_one_device_eight_and_two_processes_of_four_train_alike(tmp_path, what):
    one, eight, two = (tmp_path / name for name in ("one", "eight", "two"))
    options = []
    if what == "umci":
        small_world.save_clip(tmp_path / "clip")
        small_world.mvtec_tree(tmp_path / "mvtec")
        options = ["--umci", tmp_path]
    _run(one, "--steps", 20, *options)
    _run(eight, "--steps", 20, *options, devices=8)
    _two_processes(two, "--steps", 20, *options)
    expected = _losses(one)
    assert list(expected) == list(range(1, 21))
    for output in (eight, two):
        found = _losses(output)
        np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=1e-5)
    # Checkpoints of one go on with the other.
    _run(two, "--steps", 24, "--resume", *options)
    _two_processes(one, "--steps", 24, "--resume", *options)
    last = [list(_losses(output).values())[20:] for output in (one, two)]
    np.testing.assert_allclose(*last, atol=1e-5)
    assert len(last[0]) == 4
