import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from zsas_jax.metrics import MetricOptions, evaluate_maps
from zsas_jax.metrics.boundary import BoundaryF1, boundary


def square(top, left, size=6, shape=(30, 30)):
    mask = np.zeros(shape, bool)
    mask[top : top + size, left : left + size] = True
    return mask


def boundary_f1(predictions, masks, tolerance=0.008):
    options = MetricOptions(boundary_thresholds=(0.5,), boundary_tolerance=tolerance)
    maps = [np.float32(prediction) for prediction in predictions]
    return evaluate_maps(maps, masks, options=options)["boundary_f1"]


def test_the_boundary_is_one_pixel_wide_and_not_the_frame():
    assert boundary(square(10, 10)).sum() == 20
    assert not boundary(np.ones((5, 5), bool)).any()
    assert boundary(square(0, 0)).sum() == 11


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05, 0.2]))
def test_counts_are_those_of_all_distances(seed, tolerance):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 14, 2))
    anomaly_map, mask = rng.random(shape).astype(np.float32), rng.random(shape) < rng.random()
    metric = BoundaryF1((0.3, 0.8), tolerance)
    metric.add(anomaly_map, mask)
    reach = max(1.0, tolerance * np.hypot(*shape))
    true = np.argwhere(mask & ~ndimage.binary_erosion(mask, border_value=1))
    for counts, threshold in zip(metric.state()["counts"], (0.3, 0.8), strict=True):
        predicted = anomaly_map >= threshold
        predicted = np.argwhere(predicted & ~ndimage.binary_erosion(predicted, border_value=1))
        near = np.linalg.norm(predicted[:, None] - true[None], axis=-1) <= reach
        expected = [near.any(1).sum(), len(predicted), near.any(0).sum(), len(true)]
        assert counts.tolist() == expected


def test_hand_computed():
    mask = square(10, 10)
    assert boundary_f1([mask], [mask]) == 1.0
    assert boundary_f1([square(11, 10)], [mask]) == 1.0  # off by the tolerance of 1 pixel
    assert boundary_f1([square(20, 20)], [mask]) == 0.0
    assert boundary_f1([np.zeros((30, 30))], [mask]) == 0.0
    # A second, false square of the same size: precision one half.
    assert boundary_f1([mask | square(20, 20)], [mask]) == pytest.approx(2 / 3)
    # 2 pixels to the right: 4 corners-side columns of 20 pixels do not match ...
    shifted = boundary_f1([square(10, 12)], [mask])
    # ... unless 2 pixels are within the tolerance: 0.05 * hypot(30, 30) = 2.1.
    assert 0 < shifted < 1
    assert boundary_f1([square(10, 12)], [mask], 0.05) == 1.0


def test_counts_of_all_images_are_pooled():
    mask = square(10, 10)
    # The false square stands on a normal picture.
    assert boundary_f1([mask, square(3, 3)], [mask, None]) == pytest.approx(2 / 3)


def test_the_best_threshold_of_all_images_together():
    # One at 0.6 beside a fainter false square, the other fainter itself.
    first = 0.6 * square(10, 10) + 0.2 * square(20, 20)
    maps, masks = [first, 0.4 * square(3, 3)], [square(10, 10), square(3, 3)]
    for thresholds, expected in (((0.5,), 2 / 3), ((0.3,), 1.0), ((0.1,), 4 / 5)):
        options = MetricOptions(boundary_thresholds=thresholds, boundary_tolerance=0.0)
        found = evaluate_maps(maps, masks, options=options)["boundary_f1"]
        assert found == pytest.approx(expected)
    options = MetricOptions(boundary_thresholds=(0.1, 0.5, 0.3), boundary_tolerance=0.0)
    assert evaluate_maps(maps, masks, options=options)["boundary_f1"] == 1.0


def test_undefined_without_a_true_boundary():
    options = MetricOptions(boundary_thresholds=(0.5,))
    for mask in (None, np.ones((4, 4))):
        result = evaluate_maps([np.ones((4, 4))], [mask], options=options)
        assert result["boundary_f1"] is None
        assert "boundary" in result["reasons"]["boundary_f1"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_symmetric_and_mergeable(seed):
    rng = np.random.default_rng(seed)
    masks = [rng.random((12, 9)) < 0.5 for _ in range(4)]
    first, swapped, part, rest = (BoundaryF1((0.5,), 0.0) for _ in range(4))
    for index, (one, other) in enumerate([masks[:2], masks[2:]]):
        first.add(one.astype(np.float32), other)
        swapped.add(other.astype(np.float32), one)
        (rest if index else part).add(one.astype(np.float32), other)
    part.merge(rest)
    assert first.result() == part.result()
    assert first.result() == pytest.approx(swapped.result(), abs=1e-12)
