"""What benchmarks of whole methods measure, on small networks and pictures."""

import dataclasses

import jax
import numpy as np
import pytest

import zsas_jax
from zsas_jax.benchmarks import encoders, line, pipeline, setups, training
from zsas_jax.testing import dummy_bundle


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Method -> a checkpoint of small networks whose own it is."""
    bundle, paths = dummy_bundle(), {}
    for method in ("umci", "cascade"):
        paths[method] = str(tmp_path_factory.mktemp(method) / "model")
        config = dataclasses.replace(bundle.config, method=method)
        zsas_jax.save(paths[method], bundle._replace(config=config))
    return paths


def test_the_pipeline_without_peers(small, monkeypatch):
    monkeypatch.setattr(pipeline.timing, "matrix_rate", lambda dtype: 1e11)
    ours, head = pipeline.measure(small["umci"], (2,), 32, (), 1, "float32")
    assert [ours["program"], head["program"]] == ["ours", "its head"]
    assert head["seconds"] > 0
    assert ours["difference"] == 0


def test_a_line_is_the_mean_of_a_good_and_an_anomalous_part(small, monkeypatch):
    taken = []

    def run_ours(setup, image, compute):
        taken.append((setup.config.refiner.foreground.threshold, image, compute.refine_at_a_time))
        return lambda: image.mean()

    monkeypatch.setattr(line, "run_ours", run_ours)
    rows = line.measure(small["cascade"], (0.0, 25.0), 32, 1)
    seconds = {row["part"]: row["seconds"] for row in rows if row.get("program") == "always"}
    lines = [row for row in rows if row["question"] == line.LINES]
    assert lines[0]["always"] == pytest.approx(seconds["good"])
    quarter = 0.25 * seconds["anomalous"] + 0.75 * seconds["good"]
    assert lines[1]["always"] == pytest.approx(quarter)
    assert [count for *_, count in taken] == [1, 0, 1, 0]
    # The threshold lies between both rough maps.
    setup = setups.load_setup(small["cascade"])
    good, bad = line._highest(setup, np.concatenate([taken[0][1], taken[2][1]]))
    assert good < taken[0][0] < bad


def test_training_without_peers(small):
    ours, read, computed = training.measure(small["umci"], 2, 32, 1, peer=False, photos=2)
    assert [ours["program"], read["program"], computed["program"]] == ["ours", "read", "computed"]
    assert computed["difference"] == 0


def test_an_encoder_at_another_size():
    runs, operations = encoders.build("clip@56", ("ours",), 2, "float32")
    assert runs["ours"]().shape == (2, 7 * 7, 16)
    assert operations > 1e5


def test_networks_of_published_sizes_fit_each_other(monkeypatch):
    monkeypatch.setattr(setups, "random_weights", lambda create, scale: jax.eval_shape(create))
    setup = setups.load_setup("ViT-B")
    assert setup.method == "cascade"
    photos, rows = setup.inputs(np.zeros((2, 8, 8, 3), np.uint8))
    assert photos.sizes.tolist() == [[8, 8], [8, 8]]
    assert rows.shape == (2, 2, 768)
