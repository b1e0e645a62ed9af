import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label as connected
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from zsas_jax.metrics import (
    METRICS,
    MetricsError,
    StreamingMetrics,
    evaluate_maps,
    histogram,
    mean_result,
)
from zsas_jax.metrics.histogram import Limits, ScoreHistogram, float_keys, key_floats

PIXEL = [name for name in METRICS if name.startswith("pixel")]


def exact_pro(maps, masks, limit=0.3):
    """PRO the slow way: one prediction per distinct score, one overlap per region."""
    scores = np.concatenate([m.ravel() for m in maps])
    thresholds = np.unique(scores)[::-1]
    normal = np.concatenate([m[~g] for m, g in zip(maps, masks, strict=True)])
    rates = [0.0] + [float((normal >= t).mean()) for t in thresholds]
    regions = []
    for anomaly_map, mask in zip(maps, masks, strict=True):
        labels = connected(mask, connectivity=2)
        regions += [anomaly_map[labels == i] for i in range(1, labels.max() + 1)]
    overlaps = [0.0] + [float(np.mean([(r >= t).mean() for r in regions])) for t in thresholds]
    area = 0.0
    for x0, x1, y0, y1 in zip(rates, rates[1:], overlaps, overlaps[1:], strict=False):
        if x0 >= limit:
            break
        if x1 > limit:
            y1 = y0 + (limit - x0) / (x1 - x0) * (y1 - y0)
            x1 = limit
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


def reference(maps, masks):
    scores = np.concatenate([m.ravel() for m in maps])
    truth = np.concatenate([m.ravel() for m in masks])
    precision, recall, _ = precision_recall_curve(truth, scores)
    with np.errstate(invalid="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
    return {
        "pixel_auroc": roc_auc_score(truth, scores),
        "pixel_ap": average_precision_score(truth, scores),
        "pixel_f1_max": f1.max(),
        "pixel_pro": exact_pro(maps, masks),
    }


def binned(values):
    """Values that the histogram represents exactly."""
    return (np.asarray(values, np.float32).view(np.uint32) & np.uint32(0xFFFFFFE0)).view(np.float32)


def some_images(rng, count=4, levels=None, signal=1.0):
    maps, masks = [], []
    for _ in range(count):
        h, w = rng.integers(8, 24, 2)
        mask = np.kron(rng.random((h // 4 + 1, w // 4 + 1)) < 0.15, np.ones((4, 4)))[:h, :w] > 0
        anomaly_map = 1 / (1 + np.exp(-rng.normal(signal * mask - 2, 1)))
        if levels:
            anomaly_map = np.round(anomaly_map * levels) / levels
        maps.append(binned(anomaly_map))
        masks.append(mask)
    masks[0][1, 1] = True
    masks[-1][:] = False
    return maps, masks


@pytest.fixture
def no_exact_pixels(monkeypatch):
    """Pixels are binned at once, as in large sets."""
    monkeypatch.setattr(histogram, "FULL", histogram.FULL._replace(exact_pixels=0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [None, 7])
def test_equals_scikit_learn_and_a_plain_pro_on_binned_maps(seed, levels, no_exact_pixels):
    maps, masks = some_images(np.random.default_rng(seed), levels=levels)
    result = evaluate_maps(maps, masks)
    for name, expected in reference(maps, masks).items():
        assert result[name] == pytest.approx(expected, abs=1e-9), name
    assert result["reasons"] == {}


@pytest.mark.parametrize("seed", range(3))
def test_small_sets_are_exact_without_binning(seed):
    rng = np.random.default_rng(seed)
    maps, masks = some_images(rng)
    maps = [np.float32(0.9) + m / np.float32(3e4) for m in maps]
    result = evaluate_maps(maps, masks)
    for name, expected in reference(maps, masks).items():
        assert result[name] == pytest.approx(expected, abs=1e-9), name


@pytest.mark.parametrize(
    "scale",
    [
        lambda m: m,
        lambda m: m / 30,
        lambda m: 0.6 + m / 30,
        lambda m: 1 - m.max() / 30 + m / 30,
        lambda m: m * 1e-7,
        lambda m: m * 1e5 - 3e4,
        lambda m: np.clip(3 * m, 0, 1),
        lambda m: np.float64(m) ** 9,
    ],
)
def test_float_maps_of_any_scale(scale, no_exact_pixels):
    rng = np.random.default_rng(1)
    masks = [np.zeros((96, 96), bool) for _ in range(3)]
    masks[0][10:30, 5:60] = True
    masks[1][70:75, 70:75] = masks[1][1:3, 1:90] = True
    maps = [
        scale((1 / (1 + np.exp(-rng.normal(1.5 * g - 2, 1)))).astype(np.float32)) for g in masks
    ]
    result = evaluate_maps(maps, masks)
    scores, truth = np.ravel(maps).astype(np.float32), np.ravel(masks)
    precision, recall, _ = precision_recall_curve(truth, scores)
    f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-30)).max()
    assert result["pixel_auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-4)
    assert result["pixel_ap"] == pytest.approx(average_precision_score(truth, scores), abs=1e-4)
    assert result["pixel_f1_max"] == pytest.approx(f1, abs=1e-4)
    # The plain PRO is quadratic: on ranks, thinned out.
    small = [np.float32(m)[::4, ::4] for m in maps]
    small_masks = [g[::4, ::4] for g in masks]
    assert evaluate_maps(small, small_masks)["pixel_pro"] == pytest.approx(
        exact_pro(small, small_masks), abs=1e-4
    )


def test_hand_computed():
    # Scores 4 3 2 1; anomalous: the 4 and the 2, two regions of one pixel.
    anomaly_map = np.array([[4.0, 3.0, 2.0, 1.0]], np.float32)
    mask = np.array([[True, False, True, False]])
    result = evaluate_maps([anomaly_map], [mask])
    assert result["pixel_auroc"] == pytest.approx(3 / 4)
    assert result["pixel_ap"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert result["pixel_f1_max"] == pytest.approx(2 * 2 / (2 * 2 + 1))
    assert result["pixel_f1_max_threshold"] == 2.0
    # Curve (0, 0) (0, 1/2) (1/2, 1/2) ...: constant one half up to 0.3.
    assert result["pixel_pro"] == pytest.approx(0.5)


def test_pro_weighs_regions_not_pixels_and_interpolates_at_the_limit():
    mask = np.zeros((1, 20), bool)
    mask[0, :9] = mask[0, 10] = True  # one region of nine pixels and one of one
    anomaly_map = np.zeros((1, 20), np.float32)
    anomaly_map[0, :9] = 1.0  # the large region is found, the small one ties with the background
    # (0, 0.5) to (1, 1): at 0.3 the overlap is 0.65, the mean up to there 0.575.
    assert evaluate_maps([anomaly_map], [mask])["pixel_pro"] == pytest.approx(0.575)


def test_regions_touching_at_a_corner_are_one():
    mask = np.eye(3, dtype=bool)
    anomaly_map = np.zeros((3, 3), np.float32)
    anomaly_map[0, 0] = 1.0
    # One region of three pixels: overlap 1/3 at rate 0, then a straight line to (1, 1).
    assert evaluate_maps([anomaly_map], [mask])["pixel_pro"] == pytest.approx(1 / 3 + 2 / 3 * 0.15)


def test_image_metrics_and_labels():
    maps = [np.full((2, 2), value, np.float32) for value in (0.9, 0.2, 0.5, 0.1)]
    masks = [np.ones((2, 2), bool), None, None, None]
    result = evaluate_maps(maps, masks, scores=[0.9, 0.2, 0.9, 0.1], labels=[1, 0, 0, 1])
    scores, labels = [0.9, 0.2, 0.9, 0.1], [1, 0, 0, 1]
    assert result["image_auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert result["image_ap"] == pytest.approx(average_precision_score(labels, scores))
    assert result["image_f1_max"] == pytest.approx(2 / 3)  # everything is called anomalous
    by_mask = evaluate_maps(maps, masks)
    assert by_mask["image_auroc"] == 1.0
    assert by_mask["image_f1_max_threshold"] == pytest.approx(0.9)


def test_constant_maps_are_chance():
    mask = np.zeros((10, 10), bool)
    mask[:2] = True
    result = evaluate_maps([np.full((10, 10), 0.3)], [mask])
    assert result["pixel_auroc"] == 0.5
    assert result["pixel_ap"] == pytest.approx(0.2)
    assert result["pixel_f1_max"] == pytest.approx(2 * 0.2 / 1.2)
    assert result["pixel_pro"] == pytest.approx(0.15)  # the diagonal


def test_undefined_metrics_are_none_with_a_reason():
    normal = evaluate_maps([np.arange(16.0).reshape(4, 4)], [None])
    assert all(normal[name] is None for name in METRICS)
    assert normal["reasons"]["pixel_pro"] == "no anomalous pixels"
    assert normal["reasons"]["image_ap"] == "no anomalous images"
    everything = evaluate_maps([np.arange(16.0).reshape(4, 4)], [np.ones((4, 4))])
    assert everything["pixel_ap"] == everything["pixel_f1_max"] == 1.0
    assert everything["reasons"] == dict.fromkeys(
        ["pixel_auroc", "pixel_pro"], "no normal pixels"
    ) | {"image_auroc": "no normal images"}
    assert evaluate_maps([], [])["reasons"]["pixel_ap"].startswith("no labelled pixels")
    mean, reasons = mean_result([normal, everything])
    assert mean["pixel_ap"] == 1.0
    assert reasons["pixel_ap"] == "mean over 1 of 2 categories"
    assert mean["pixel_pro"] is None
    assert reasons["pixel_pro"] == "undefined in every category"


def test_one_pixel():
    assert evaluate_maps([np.ones((1, 1))], [np.ones((1, 1))])["pixel_ap"] == 1.0
    result = evaluate_maps([np.ones((1, 1)), np.zeros((1, 1))], [np.ones((1, 1)), None])
    assert [result[name] for name in METRICS] == [1.0] * 7


@pytest.mark.parametrize(
    ("maps", "masks", "scores", "words"),
    [
        ([np.array([[np.nan, 1.0]])], [None], None, "NaN"),
        ([np.array([[np.inf, 1.0]])], [None], None, "finite"),
        ([np.ones((2, 2))], [np.ones((2, 3))], None, r"\(2, 3\)"),
        ([np.ones((2, 2))], [None], [float("nan")], "image score"),
        ([np.ones((2, 2))], [], None, "differ in number"),
        ([np.ones((0, 2))], [None], None, r"\(0, 2\)"),
    ],
)
def test_refused(maps, masks, scores, words):
    with pytest.raises(MetricsError, match=words):
        evaluate_maps(maps, masks, scores)


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False)


@given(st.lists(numbers, min_size=2, max_size=20))
def test_keys_sort_as_the_numbers_do(values):
    values = np.array(values, np.float32)
    keys = float_keys(values)
    assert (np.argsort(keys, kind="stable") == np.argsort(values, kind="stable")).all()
    assert (key_floats(keys) == values).all()
    assert (np.diff(keys[np.argsort(values)]) == 0).sum() == (np.diff(np.sort(values)) == 0).sum()


images = st.lists(
    st.tuples(
        st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 99])
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40, deadline=None)
@given(images, st.integers(0, 5), st.sampled_from([0, 10, 1 << 22]), st.sampled_from([1, 512]))
def test_order_merging_and_restarts_do_not_matter(specs, split, exact_pixels, pages):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram, "FULL", histogram.Limits(exact_pixels, pages))
        check_order_merging_and_restarts(specs, split)


def check_order_merging_and_restarts(specs, split):
    rows = []
    for h, w, seed, levels in specs:
        rng = np.random.default_rng(seed)
        mask = rng.random((h, w)) < rng.choice([0.0, 0.3, 1.0])
        scores = binned(rng.integers(-levels, levels, (h, w)) / levels)
        rows.append((scores, mask, float(scores.max()), int(mask.any())))
    whole, first, second, backwards = (StreamingMetrics() for _ in range(4))
    for index, row in enumerate(rows):
        whole.update(*row)
        (first if index < split else second).update(*row)
    for row in reversed(rows):
        backwards.update(*row)
        backwards.compact()
    restarted = StreamingMetrics.from_state(first.state())
    restarted.merge(second)
    expected = whole.result()
    for other in (backwards.result(), restarted.result()):
        assert other == expected  # to the last bit
    if not expected["reasons"]:
        for name, value in reference(*zip(*[row[:2] for row in rows], strict=True)).items():
            assert expected[name] == pytest.approx(value, abs=1e-9), name


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2.0**-20, 0.5, 3.0, 1024.0]))
def test_metrics_do_not_depend_on_the_scale(seed, factor):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram, "FULL", histogram.FULL._replace(exact_pixels=0))
        check_scale(seed, factor)


def check_scale(seed, factor):
    maps, masks = some_images(np.random.default_rng(seed), count=2)
    maps, scaled = maps, [m * np.float32(factor) for m in maps]
    expected, found = evaluate_maps(maps, masks), evaluate_maps(scaled, masks)
    for name in METRICS:
        assert found[name] == pytest.approx(expected[name], abs=1e-3 if factor == 3.0 else 1e-12)


def test_memory_does_not_grow_with_images(no_exact_pixels):
    rng = np.random.default_rng(0)
    metrics, sizes = StreamingMetrics(), []
    for count in range(60):
        scores = np.exp(-20 * rng.random((64, 64))).astype(np.float32)
        metrics.update(scores, rng.random((64, 64)) < 0.01)
        if count in (19, 59):
            sizes.append(metrics._histogram._counts.nbytes)
    assert sizes[1] < sizes[0] * 1.3
    assert sizes[1] < 1.3 * histogram.FULL.pages * 2**17
    before = metrics.result()
    metrics.compact()
    assert metrics._histogram._counts.nbytes < sizes[1] / 20
    assert metrics.result() == before


def test_bins_are_joined_only_as_far_as_needed():
    rng = np.random.default_rng(0)
    wide, narrow, some, rest = (ScoreHistogram(Limits(0, 128)) for _ in range(4))
    scores = np.exp(-10 * rng.random(20000)).astype(np.float32)
    none = np.zeros(0, np.uint32), np.zeros(0, np.int64)
    wide.add(float_keys(scores), *none)
    assert histogram.MIN_MANTISSA_BITS < wide.mantissa_bits < 20
    narrow.add(float_keys(np.float32(0.96) + scores / 1000), *none)
    assert narrow.mantissa_bits == 23
    # Halves that need fewer joined bins than the whole: low scores are but few powers of two.
    order = np.argsort(scores)
    some.add(float_keys(scores[order[15000:]]), *none)
    rest.add(float_keys(scores[order[:15000]]), *none)
    assert some.mantissa_bits > wide.mantissa_bits
    some.merge(rest)
    assert some.mantissa_bits == wide.mantissa_bits
    for one, other in zip(some.bins(), wide.bins(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_never_fewer_bins_than_promised():
    bits = np.random.default_rng(0).integers(0, 2**32, 200000, dtype=np.uint32)
    scores = bits.view(np.float32)
    scores = scores[np.isfinite(scores)]
    metrics = ScoreHistogram(Limits(0, 1))
    metrics.add(float_keys(scores), np.zeros(0, np.uint32), np.zeros(0, np.int64))
    assert metrics.mantissa_bits == 14
    found = metrics.bins()
    assert found.negatives.sum() == len(scores)
    assert (np.diff(found.scores) > 0).all()


@pytest.mark.parametrize(
    "scale",
    [
        lambda m: 0.6 + m / 30,
        lambda m: 1 - 1e-4 + m / 10**4,
        lambda m: np.clip(1.5 * m, 0, 1),
        lambda m: 1 / (1 + np.exp(-12 - 2 * m)),
        lambda m: m * 1e-30,
        lambda m: -m,
    ],
)
def test_many_pixels_of_any_scale(scale, monkeypatch):
    """Where pixels are binned: within 1e-4 of scikit-learn and of exact PRO."""
    rng = np.random.default_rng(2)
    masks = [np.zeros((280, 300), bool) for _ in range(6)]
    for index, mask in enumerate(masks[:4]):
        mask[20 : 40 + 20 * index, 30:60] = mask[200:203, 100:280] = True
    maps = [
        np.float32(scale(1 / (1 + np.exp(-rng.normal(2 * mask - 2, 1, mask.shape)))))
        for mask in masks
    ]
    exact = evaluate_maps(maps, masks)
    monkeypatch.setattr(histogram, "FULL", Limits(0, 256))
    found = evaluate_maps(maps, masks)
    truth, scores = np.ravel(masks), np.ravel(maps)
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-5)
    assert found["pixel_ap"] == pytest.approx(average_precision_score(truth, scores), abs=1e-5)
    for name in PIXEL:
        assert found[name] == pytest.approx(exact[name], abs=1e-5), name
