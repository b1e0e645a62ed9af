import numpy as np
import pytest

from zsas_jax.metrics import (
    MetricOptions,
    MetricsError,
    StreamingMetrics,
    histogram,
    load_metrics,
    save_metrics,
)

EVERYTHING = MetricOptions(
    region_f1=True,
    pro_200=True,
    boundary_thresholds=(0.3, 0.5),
    by_defect_type=True,
    bootstrap=20,
)


def feed(metrics, indices):
    for index in indices:
        rng = np.random.default_rng(index)
        mask = np.zeros((16, 18), bool)
        mask[2 : 2 + index % 3 * 3, 3:9] = True
        anomaly_map = np.clip(rng.normal(0.3 + 0.3 * mask, 0.2), 0, 1)
        defect = ["", "Kratzer, tief", "划痕/1"][index % 3] or None
        metrics.update(
            anomaly_map, mask, float(anomaly_map.max()), defect_type=defect, name=f"{index}.png"
        )
    return metrics


@pytest.mark.parametrize("exact_pixels", [0, 1 << 22])
def test_an_interrupted_run_ends_as_one_left_alone(tmp_path, monkeypatch, exact_pixels):
    monkeypatch.setattr(histogram, "FULL", histogram.Limits(exact_pixels, 512))
    monkeypatch.setattr(histogram, "SMALL", histogram.Limits(exact_pixels // 2, 64))
    path = tmp_path / "some" / "metrics.npz"
    expected = feed(StreamingMetrics(EVERYTHING), range(12)).result()
    metrics = {"leather": StreamingMetrics(EVERYTHING), "päivä": StreamingMetrics()}
    for first, last in ((0, 5), (5, 6), (6, 12)):
        feed(metrics["leather"], range(first, last))
        save_metrics(path, metrics)
        metrics = load_metrics(path)
    assert metrics["leather"].result() == expected
    assert sorted(expected["defect_types"]) == ["Kratzer, tief", "划痕/1"]
    assert metrics["päivä"].result() == StreamingMetrics().result()
    assert [file.name for file in path.parent.iterdir()] == ["metrics.npz"]


def test_files_of_binned_pixels_are_small(tmp_path, monkeypatch):
    monkeypatch.setattr(histogram, "FULL", histogram.Limits(0, 512))
    metrics = StreamingMetrics()
    rng = np.random.default_rng(0)
    for _ in range(4):
        metrics.update(rng.random((256, 256)).astype(np.float32), rng.random((256, 256)) < 0.01)
    save_metrics(tmp_path / "m.npz", {"a": metrics})
    assert (tmp_path / "m.npz").stat().st_size < 20 * 4 * 256 * 256


def test_damaged_files_are_one_sentence(tmp_path):
    path = tmp_path / "metrics.npz"
    with pytest.raises(MetricsError, match=r"metrics\.npz cannot be read"):
        load_metrics(path)
    save_metrics(path, {"a": feed(StreamingMetrics(), range(3))})
    whole = path.read_bytes()
    for wrong in (b"", b"nonsense", whole[:200], whole[: len(whole) // 2]):
        path.write_bytes(wrong)
        with pytest.raises(MetricsError, match=r"metrics\.npz cannot be read"):
            load_metrics(path)
    path.write_bytes(b"")
    np.savez(path, version=np.array(99))
    with pytest.raises(MetricsError, match="version 99"):
        load_metrics(path)


def test_other_options_are_not_merged():
    with pytest.raises(MetricsError, match="same options"):
        StreamingMetrics(EVERYTHING).merge(StreamingMetrics())


def test_defect_types_are_measured_with_the_normal_images():
    metrics = feed(StreamingMetrics(MetricOptions(by_defect_type=True)), range(12))
    rows = metrics.result()["defect_types"]
    for kind, name in ((1, "Kratzer, tief"), (2, "划痕/1")):
        alone = feed(StreamingMetrics(), [i for i in range(12) if i % 3 in (0, kind)])
        expected = alone.result()
        assert rows[name] == expected
    assert rows["Kratzer, tief"]["pixel_ap"] != rows["划痕/1"]["pixel_ap"]


def test_types_of_pixels_and_scores_added_apart():
    mask = np.eye(4, dtype=bool)
    metrics = StreamingMetrics(MetricOptions(by_defect_type=True))
    metrics.add_pixels(np.eye(4), mask, defect_type="crack")
    metrics.add_image(0.9, 1, defect_type="crack")
    metrics.add_pixels(np.zeros((4, 4)), None)
    metrics.add_image(0.1, 0)
    metrics.add_pixels(np.eye(4), mask)  # anomalous, of no known type
    metrics.add_pixels(np.ones((4, 4)), np.zeros((4, 4), bool), label=1, defect_type="hidden")
    rows = metrics.result()["defect_types"]
    assert rows["crack"]["pixel_ap"] == rows["crack"]["image_auroc"] == 1.0
    assert rows["hidden"]["reasons"]["pixel_ap"] == "no anomalous pixels"
