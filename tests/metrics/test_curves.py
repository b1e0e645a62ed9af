import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label as connected
from skimage.measure import regionprops

from zsas_jax.metrics import MetricOptions, StreamingMetrics, curves, evaluate_maps


def some_maps(seed, count=3, levels=None):
    rng = np.random.default_rng(seed)
    masks = [np.kron(rng.random((6, 6)) < 0.1, np.ones((5, 4))) > 0 for _ in range(count)]
    masks[0][2, 3] = True
    maps = [rng.normal(1.5 * mask, 1).astype(np.float32) for mask in masks]
    if levels:
        maps = [np.round(m * levels) / np.float32(levels) for m in maps]
    return maps, masks


def columns(seed, levels=None):
    maps, masks = some_maps(seed, levels=levels)
    truth, scores = np.ravel(masks), np.ravel(maps)
    distinct, index = np.unique(scores, return_inverse=True)
    positives = np.bincount(index, truth, len(distinct))
    return truth, scores, distinct, positives, np.bincount(index) - positives


@pytest.mark.parametrize("levels", [None, 4])
def test_roc_and_precision_recall_equal_scikit_learn(levels):
    truth, scores, distinct, positives, negatives = columns(0, levels)
    roc = curves.roc_curve(distinct, positives, negatives, points=10**6)
    x, y, thresholds = sklearn.metrics.roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc.x, x, atol=1e-12)
    np.testing.assert_allclose(roc.y, y, atol=1e-12)
    np.testing.assert_allclose(roc.thresholds, thresholds)
    found = curves.precision_recall_curve(distinct, positives, negatives, points=10**6)
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(truth, scores)
    np.testing.assert_allclose(found.y, precision[::-1], atol=1e-12)
    np.testing.assert_allclose(found.x, recall[::-1], atol=1e-12)
    np.testing.assert_allclose(found.thresholds[1:], thresholds[::-1])


def test_the_area_under_the_pro_curve_is_pro():
    maps, masks = some_maps(1)
    metrics = StreamingMetrics()
    for row in zip(maps, masks, strict=True):
        metrics.update(*row)
    whole = metrics.curve_points(10**6)["pixel_pro"]
    pro = metrics.result()["pixel_pro"]
    assert whole.x[-1] == pytest.approx(0.3)
    assert len(whole.x) == len(whole.y) == len(whole.thresholds)
    assert np.trapezoid(whole.y, whole.x) / 0.3 == pytest.approx(pro, abs=1e-12)
    thin = metrics.curve_points(100)["pixel_pro"]
    assert len(thin.x) <= 100
    assert np.trapezoid(thin.y, thin.x) / 0.3 == pytest.approx(pro, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_thinned_curves_keep_their_ends_and_lose_little(seed, points):
    _, _, distinct, positives, negatives = columns(seed, levels=8)
    whole = curves.roc_curve(distinct, positives, negatives, points=10**6)
    thin = curves.thin_out(whole, points)
    assert len(thin.x) <= max(points, 2)
    assert (thin.x[[0, -1]] == whole.x[[0, -1]]).all()
    assert (thin.y[[0, -1]] == whole.y[[0, -1]]).all()
    assert set(zip(*thin, strict=True)) <= set(zip(*whole, strict=True))
    assert (np.diff(thin.x) >= 0).all()
    assert (np.diff(thin.y) >= 0).all()


def test_curves_that_are_undefined_are_left_out():
    metrics = StreamingMetrics()
    assert metrics.curve_points() == {}
    metrics.update(np.ones((2, 2)), None, 0.5)
    assert metrics.curve_points() == {}
    metrics.update(np.ones((2, 2)), np.ones((2, 2), bool), 0.6)
    assert sorted(metrics.curve_points()) == [
        "image_precision_recall",
        "image_roc",
        "pixel_precision_recall",
        "pixel_pro",
        "pixel_roc",
    ]
    with pytest.raises(ValueError, match="points"):
        metrics.curve_points(1)


def test_score_counts_are_histograms():
    maps, masks = some_maps(2)
    metrics = StreamingMetrics()
    for row in zip(maps, masks, strict=True):
        metrics.update(*row, float(row[0].max()))
    found = metrics.score_counts(bins=20)
    truth, scores = np.ravel(masks), np.ravel(maps)
    np.testing.assert_array_equal(found.anomalous, np.histogram(scores[truth], found.edges)[0])
    np.testing.assert_array_equal(found.normal, np.histogram(scores[~truth], found.edges)[0])
    images = metrics.score_counts("image", 5)
    assert images.anomalous.sum() + images.normal.sum() == len(maps)
    assert StreamingMetrics().score_counts().normal.sum() == 0


def pro_of_200_thresholds(maps, masks):
    """As the papers' programs write it."""
    maps, masks = np.stack(maps).astype(np.float64), np.stack(masks)
    low, high = maps.min(), maps.max()
    pros, rates = [], []
    for step in range(200):
        predicted = maps > low + step * (high - low) / 200
        overlaps = []
        for prediction, mask in zip(predicted, masks, strict=True):
            for region in regionprops(connected(mask)):
                overlaps.append(prediction[tuple(region.coords.T)].sum() / region.area)
        pros.append(np.mean(overlaps))
        rates.append((predicted & ~masks).sum() / (~masks).sum())
    pros, rates = np.array(pros), np.array(rates)
    kept = rates < 0.3
    rates = (rates[kept] - rates[kept].min()) / (rates[kept].max() - rates[kept].min())
    return sklearn.metrics.auc(rates, pros[kept])


@pytest.mark.parametrize(("seed", "levels"), [(0, None), (1, None), (2, 3)])
def test_pro_of_200_thresholds(seed, levels):
    maps, masks = some_maps(seed, levels=levels)
    result = evaluate_maps(maps, masks, options=MetricOptions(pro_200=True))
    assert result["pixel_pro_200"] == pytest.approx(pro_of_200_thresholds(maps, masks), abs=1e-9)


def test_pro_of_200_thresholds_may_be_undefined():
    mask = np.zeros((4, 4), bool)
    mask[0] = True
    options = MetricOptions(pro_200=True)
    constant = evaluate_maps([np.ones((4, 4))], [mask], options=options)
    assert constant["pixel_pro_200"] is None
    assert "fewer than two" in constant["reasons"]["pixel_pro_200"]
    normal = evaluate_maps([np.ones((4, 4))], [None], options=options)
    assert normal["reasons"]["pixel_pro_200"] == "no anomalous pixels"
