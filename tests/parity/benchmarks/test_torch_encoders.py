"""Encoders: our weights in transformers' models give the same numbers."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from zsas_jax.benchmarks import encoders


@pytest.mark.parametrize("model", ["sam@160", "clip@56"])
def test_all_programs_compute_the_same(model):
    runs, operations = encoders.build(model, ("ours", "sdpa", "eager"), 2, "float32")
    ours, *others = (run() for run in runs.values())
    for other in others:
        assert other.shape == ours.shape
        assert np.abs(other - ours).max() < 1e-5 * np.abs(ours).max()
    assert operations > 1e5
