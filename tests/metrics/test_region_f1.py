import numpy as np
import pytest
from skimage.measure import label as connected
from skimage.measure import regionprops

from zsas_jax.errors import ConfigError
from zsas_jax.metrics import MetricOptions, MetricsError, StreamingMetrics, evaluate_maps

OPTIONS = MetricOptions(region_f1=True)


def plain_region_f1(maps, masks, low, high):
    best = 0.0
    for step in range(200):
        threshold = high - step * (high - low) / 200
        hits = predicted = true = 0
        for anomaly_map, mask in zip(maps, masks, strict=True):
            prediction = anomaly_map > threshold
            found = regionprops(connected(prediction, connectivity=2))
            regions = regionprops(connected(mask, connectivity=2))
            predicted, true = predicted + len(found), true + len(regions)
            for one in found:
                overlaps = [0.0]
                for other in regions:
                    top, left = np.minimum(one.bbox[:2], other.bbox[:2])
                    bottom, right = np.maximum(one.bbox[2:], other.bbox[2:])
                    box = np.s_[top:bottom, left:right]
                    union = (prediction[box] | mask[box]).sum()
                    overlaps.append((prediction[box] & mask[box]).sum() / union)
                hits += max(overlaps) >= 0.6
        best = max(best, 2 * hits / (predicted + true))
    return best


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_plain_writing(seed):
    rng = np.random.default_rng(seed)
    masks = [np.kron(rng.random((5, 6)) < 0.2, np.ones((4, 4))) > 0 for _ in range(3)]
    masks[0][:3, :3] = True
    masks[2][:] = False
    maps = [np.clip(rng.normal(0.3 + 0.4 * mask, 0.12), 0, 1).astype(np.float32) for mask in masks]
    expected = plain_region_f1(maps, masks, 0.0, 1.0)
    assert 0 < expected != 1  # it may exceed 1: several predictions hit one region
    result = evaluate_maps(maps, masks, options=OPTIONS)
    assert result["region_f1"] == pytest.approx(expected, abs=1e-12)
    # By the range of the maps, as released.
    scores = np.stack(maps)
    found = evaluate_maps(maps, masks, options=MetricOptions(region_f1=True, score_range=None))
    expected = plain_region_f1(maps, masks, float(scores.min()), float(scores.max()))
    assert found["region_f1"] == pytest.approx(expected, abs=1e-12)


def test_hand_computed():
    mask = np.zeros((10, 20), bool)
    mask[:4, :4] = mask[:4, 10:14] = True
    anomaly_map = np.zeros((10, 20), np.float32)
    anomaly_map[:4, :3] = 0.9  # 12 of 16 pixels: a hit
    anomaly_map[9, 19] = 0.5  # nothing
    result = evaluate_maps([anomaly_map], [mask], options=OPTIONS)
    # Above 0.5: one prediction, one hit, two true regions.
    assert result["region_f1"] == pytest.approx(2 * 1 / (1 + 2))
    assert 0.5 <= result["region_f1_threshold"] < 0.9


def test_boxes_that_see_their_neighbours():
    """All foreground in the union of the boxes counts, not the two regions alone."""
    mask = np.zeros((9, 9), bool)
    mask[0, :] = mask[:, 0] = True  # one L-shaped region whose box is everything
    anomaly_map = np.where(mask, 0.8, 0.0).astype(np.float32)
    anomaly_map[4:8, 4:8] = 0.8  # 16 wrong pixels inside that box: 17 / 33
    result = evaluate_maps([anomaly_map], [mask], options=OPTIONS)
    assert result["region_f1"] == 0.0


def test_undefined_and_refused():
    result = evaluate_maps([np.ones((3, 3))], [None], options=OPTIONS)
    assert result["region_f1"] is None
    assert result["reasons"]["region_f1"] == "no anomalous pixels"
    with pytest.raises(MetricsError, match="score_range"):
        StreamingMetrics(MetricOptions(region_f1=True, score_range=None))
    with pytest.raises(ConfigError, match="score_range"):
        MetricOptions(score_range=(1.0, 0.0))
