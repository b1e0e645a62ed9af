import numpy as np
import pytest

pytest.importorskip("sklearn")

from zsas_jax.benchmarks import __main__ as benchmarks
from zsas_jax.benchmarks import metrics


def test_the_usual_programs_agree(monkeypatch):
    monkeypatch.setattr(metrics, "_SIDE", 200)
    maps, masks = metrics.random_maps(4, seed=0)
    ours = metrics.streaming(maps, masks)
    for name, metric, program in metrics.usual_programs(maps, masks):
        tolerance = 0.02 if metric == "pixel_pro" else 1e-9
        assert program() == pytest.approx(ours[metric], abs=tolerance), name


def test_maps_are_as_described():
    maps, masks = metrics.random_maps(1, seed=0)
    assert masks.mean() == pytest.approx(0.01)
    assert metrics.label_regions(masks[0])[1] == 20
    assert maps.dtype == np.float32


def test_the_command_prints_its_table(capsys, monkeypatch):
    monkeypatch.setattr(metrics, "_SIDE", 200)
    assert benchmarks.main(["metrics", "--pixels", str(4 * 200**2)]) == 0
    printed = capsys.readouterr().out
    assert "MiB above the maps" in printed
    assert "times faster" in printed


def test_bad_input_is_one_sentence(capsys):
    assert benchmarks.main(["metrics", "--pixels", "5"]) == 2
    assert "pixels is 5" in capsys.readouterr().err
    assert benchmarks.main(["speed"]) == 2
    assert "metrics," in capsys.readouterr().err
