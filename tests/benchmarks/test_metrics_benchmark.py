import numpy as np
import pytest

from zsas_jax.benchmarks import metrics


def test_the_usual_programs_agree(monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(metrics, "_SIDE", 200)
    maps, masks = metrics.random_maps(4, seed=0)
    ours = metrics.streaming(maps, masks)
    for metric, program in metrics.usual_programs(maps, masks):
        tolerance = 0.02 if metric == "pixel_pro" else 1e-9
        assert program() == pytest.approx(ours[metric], abs=tolerance), metric


def test_maps_are_as_described():
    maps, masks = metrics.random_maps(1, seed=0)
    assert masks.mean() == pytest.approx(0.01)
    assert metrics.label_regions(masks[0])[1] == 20
    assert maps.dtype == np.float32
