"""Encoders: our weights in transformers' models give the same numbers."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from zsas_jax.benchmarks import __main__ as benchmarks
from zsas_jax.benchmarks import encoders


@pytest.mark.parametrize("name", ["sam_small", "clip_small"])
def test_all_programs_compute_the_same(name):
    runs, operations = encoders.build(name, ("ours", "sdpa", "eager"), 2, "float32")
    ours, *others = (run() for run in runs.values())
    for other in others:
        assert other.shape == ours.shape
        assert np.abs(other - ours).max() < 1e-5 * np.abs(ours).max()
    assert operations > 1e6


def test_the_command_prints_its_table(capfd, tmp_path):
    given = ["encoders", "--models", "clip_small", "--programs", "ours", "sdpa"]
    given += ["--repeats", "1", "--no-memory", "--output", str(tmp_path / "figures.json")]
    assert benchmarks.main(given) == 0
    printed = capfd.readouterr().out
    assert "GFLOP/s" in printed
    assert "clip_small" in printed
    assert (tmp_path / "figures.json").exists()


def test_bad_input_is_one_sentence(capsys):
    assert benchmarks.main(["encoders", "--models", "sam_x"]) == 2
    assert "sam_x" in capsys.readouterr().err
