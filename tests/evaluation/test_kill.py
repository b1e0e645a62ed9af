"""An evaluation that is killed again and again ends as one that is left alone."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINE = "--method umci --limit 60 --batch-size 2 --resolution 128 --bootstrap 10"


def start(output, log):
    command = [sys.executable, ROOT / "evaluate.py", *LINE.split(), "--output-dir", output]
    return subprocess.Popen(command, stdout=log, stderr=log)


def results(output):
    directory = output / "synthetic" / "umci"
    metrics = json.loads((directory / "metrics.json").read_text())
    del metrics["timing"]
    files = [directory / "scores.csv", *directory.rglob("*.jpg")]
    return metrics, {path.relative_to(directory): path.read_bytes() for path in files}


@pytest.mark.full
def test_killed_five_times_at_random_points(tmp_path):
    log = (tmp_path / "log").open("w")
    assert start(tmp_path / "whole", log).wait() == 0
    seed = int(os.environ.get("KILL_SEED", time.time_ns() % 1000))
    generator = random.Random(seed)
    journal = tmp_path / "cut" / "synthetic" / "umci" / "journal.npz"
    for number in range(5):
        process = start(tmp_path / "cut", log)
        before = journal.stat().st_mtime_ns if journal.is_file() else 0
        # Three kills come after new work was noted, two at any moment from the start on.
        while number % 2 == 0 and process.poll() is None:
            if journal.is_file() and journal.stat().st_mtime_ns != before:
                break
            time.sleep(0.02)
        time.sleep(generator.uniform(0, 3 if number % 2 == 0 else 20))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(tmp_path / "cut", log).wait() == 0
    assert results(tmp_path / "cut") == results(tmp_path / "whole"), f"seed {seed}"
    assert not journal.exists()
    assert not list((tmp_path / "cut").rglob("*.part"))
