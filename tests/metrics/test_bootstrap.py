import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from zsas_jax.metrics import (
    METRICS,
    MetricOptions,
    MetricsError,
    StreamingMetrics,
    evaluate_maps,
    intervals,
    mean_replicates,
)
from zsas_jax.metrics.bootstrap import image_key

OPTIONS = MetricOptions(bootstrap=40, bootstrap_seed=3)


def some_rows(count=24, seed=0, scale=lambda m: m):
    rng, rows = np.random.default_rng(seed), []
    for index in range(count):
        mask = np.zeros((24, 20), bool)
        if index % 2:
            mask[3 : 3 + index % 5 + 2, 4:12] = True
        anomaly_map = 1 / (1 + np.exp(-rng.normal(rng.normal(1, 0.7) * mask - 1, 1)))
        score = float(rng.normal(mask.any(), 0.8))
        rows.append((scale(anomaly_map).astype(np.float32), mask, score))
    return rows


def filled(rows, options=OPTIONS):
    metrics = StreamingMetrics(options)
    for index, row in rows:
        metrics.update(*row, name=f"photo {index}")
    return metrics


def copies(metrics, rows):
    """How often each image is in each resample, [images, resamples]."""
    bootstrap = metrics._parts["bootstrap"]
    return np.stack([bootstrap.weights(image_key(f"photo {i}"))[1:] for i in range(len(rows))])


@pytest.mark.parametrize(("scale", "coarse"), [(lambda m: m, 2e-3), (lambda m: 0.6 + m / 30, 2e-2)])
def test_resamples_equal_metrics_of_the_resampled_images(scale, coarse):
    rows = some_rows(scale=scale)
    metrics = filled(list(enumerate(rows)))
    found, weights = metrics.replicates(), copies(metrics, rows)
    assert set(found) == set(METRICS)
    for resample in range(5):
        counts = weights[:, resample]
        chosen = [row for row, times in zip(rows, counts, strict=True) for _ in range(times)]
        expected = evaluate_maps(*zip(*chosen, strict=True))
        for name in METRICS:
            tolerance = 1e-9 if name.startswith("image") else coarse
            assert found[name][resample] == pytest.approx(expected[name], abs=tolerance), name


def test_image_resamples_equal_scikit_learn_with_weights():
    rows = some_rows()
    metrics = filled(list(enumerate(rows)))
    labels, scores = [row[1].any() for row in rows], [row[2] for row in rows]
    found, weights = metrics.replicates(), copies(metrics, rows)
    for name, function in (("auroc", roc_auc_score), ("ap", average_precision_score)):
        expected = [function(labels, scores, sample_weight=weights[:, i]) for i in range(40)]
        np.testing.assert_allclose(found[f"image_{name}"], expected, atol=1e-12)


def test_order_hosts_and_restarts_do_not_matter():
    rows = list(enumerate(some_rows()))
    expected = filled(rows).result()
    assert filled(rows[::-1]).result() == expected
    parts = filled(rows[:9])
    parts = StreamingMetrics.from_state(parts.state())
    parts.merge(filled(rows[9:]))
    assert parts.result() == expected
    other = filled(rows, MetricOptions(bootstrap=40, bootstrap_seed=4)).result()
    assert other["confidence"] != expected["confidence"]


def test_intervals_hold_the_metric_and_shrink_with_images():
    widths = []
    for count in (16, 160):
        result = filled(list(enumerate(some_rows(count)))).result()
        for name in METRICS:
            low, high = result["confidence"][name]
            assert 0 <= low <= result[name] <= high <= 1, name
        low, high = result["confidence"]["pixel_ap"]
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_intervals_cover_the_truth():
    """19 of 20 intervals of image AUROC should hold the value of the population."""
    rng, truth, inside = np.random.default_rng(0), 0.7602, 0  # Phi(1 / sqrt(2))
    for _ in range(25):
        metrics = StreamingMetrics(MetricOptions(bootstrap=100))
        for index in range(80):
            metrics.add_image(rng.normal(index % 2), index % 2, name=str(rng.random()))
        low, high = metrics.result()["confidence"]["image_auroc"]
        inside += low <= truth <= high
    assert inside >= 21


def test_what_is_kept_does_not_grow_with_images():
    sizes = []
    for count in (40, 120):
        state = filled(list(enumerate(some_rows(count)))).state()
        sizes.append({name: value.nbytes for name, value in state.items() if "bootstrap" in name})
    assert sizes[0]["bootstrap.keys"] == 40 * 8
    grown = sizes[1]["bootstrap.counts"] / sizes[0]["bootstrap.counts"]
    assert grown < 1.3


def test_undefined_metrics_have_no_interval():
    result = evaluate_maps([np.eye(4)], [None], options=OPTIONS)
    assert result["confidence"] == {}
    assert evaluate_maps([], [], options=OPTIONS)["confidence"] == {}


def test_a_score_needs_a_name():
    with pytest.raises(MetricsError, match="name"):
        StreamingMetrics(OPTIONS).add_image(0.5, 1)


def test_the_mean_over_categories_has_intervals():
    categories = [filled(list(enumerate(some_rows(seed=seed)))) for seed in range(3)]
    replicates = [metrics.replicates() for metrics in categories]
    mean = intervals(mean_replicates(replicates), 0.9)
    value = np.mean([metrics.result()["pixel_pro"] for metrics in categories])
    low, high = mean["pixel_pro"]
    assert low < value < high


def test_a_resample_of_the_mean_is_over_the_categories_where_it_is_defined():
    categories = [
        {"a": np.array([1.0, np.nan, np.nan]), "b": np.array([0.2, 0.4, 0.6])},
        {"a": np.array([3.0, 5.0, np.nan])},
    ]
    mean = mean_replicates(categories)
    np.testing.assert_array_equal(mean["a"], [2, 5, np.nan])
    np.testing.assert_array_equal(mean["b"], [0.2, 0.4, 0.6])
