"""Areas and optima of threshold curves, from histograms over distinct scores.

Every function takes counts (or weights) per distinct score, in ASCENDING order of the score; ties
share an entry. On such histograms the results are exact.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

PRO_LIMIT = 0.3  # false-positive rate up to which PRO is averaged (MVTec-AD's convention)
_PRO_STEPS = 200
CURVE_POINTS = 300  # of a curve that is drawn


def _from_the_top(histogram: Shaped[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Sums over all scores >= each score, in descending order of the score."""
    return np.cumsum(histogram[::-1].astype(np.float64))


def auroc(positives: Shaped[np.ndarray, " n"], negatives: Shaped[np.ndarray, " n"]) -> float:
    """Area under the ROC curve; ties count one half, as in scikit-learn's `roc_auc_score`.

    Both histograms must hold something.
    """
    above = np.concatenate([[0.0], _from_the_top(positives)])
    middle = (above[1:] + above[:-1]) / 2
    negatives = negatives[::-1].astype(np.float64)
    return float(middle @ negatives / (above[-1] * negatives.sum()))


def average_precision(
    positives: Shaped[np.ndarray, " n"], negatives: Shaped[np.ndarray, " n"]
) -> float:
    """Step sum of precision over recall, as scikit-learn's `average_precision_score`.

    There must be positives.
    """
    true, false = _from_the_top(positives), _from_the_top(negatives)
    hits = positives[::-1].astype(np.float64)
    with np.errstate(invalid="ignore"):  # 0/0 at empty scores, which add no recall
        precision = true / (true + false)
    return float(hits[hits > 0] @ precision[hits > 0] / true[-1])


def f1_max(
    positives: Shaped[np.ndarray, " n"], negatives: Shaped[np.ndarray, " n"]
) -> tuple[float, int]:
    """The highest F1 of `score >= threshold` over all distinct scores, and that score's index.

    There must be positives. Of several best thresholds the highest is returned.
    """
    true, false = _from_the_top(positives), _from_the_top(negatives)
    f1 = 2 * true / np.maximum(true + false + true[-1], 1)
    best = int(f1.argmax())
    return float(f1[best]), len(f1) - 1 - best


def pro(
    overlaps: Shaped[np.ndarray, " n"],
    negatives: Shaped[np.ndarray, " n"],
    regions: int,
    limit: float = PRO_LIMIT,
) -> float:
    """Exact area under the per-region-overlap curve up to a false-positive rate, over that rate.

    Args:
        overlaps: per score, the sum over anomalous pixels of 1 / area of the pixel's region.
        negatives: per score, the number of normal pixels.
        regions: number of regions, at least 1; there must be normal pixels, too.
        limit: the curve from (0, 0) is interpolated linearly at exactly this rate.
    """
    x, y, _ = _pro_up_to(overlaps, negatives, regions, limit)
    return float(np.trapezoid(y, x) / limit)


def _pro_up_to(
    overlaps: Shaped[np.ndarray, " n"],
    negatives: Shaped[np.ndarray, " n"],
    regions: int,
    limit: float,
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"], int]:
    """Rates, overlaps, and how many of the points are not interpolated."""
    rate = np.concatenate([[0.0], _from_the_top(negatives)])
    rate /= rate[-1]
    overlap = np.concatenate([[0.0], _from_the_top(overlaps) / regions])
    end = int(np.searchsorted(rate, limit, side="right"))  # rates before `end` are <= limit
    x, y = rate[:end], overlap[:end]
    if end < len(rate) and x[-1] < limit:
        share = (limit - rate[end - 1]) / (rate[end] - rate[end - 1])
        x = np.append(x, limit)
        y = np.append(y, overlap[end - 1] + share * (overlap[end] - overlap[end - 1]))
    return x, y, end


def pro_200(
    scores: Float[np.ndarray, " n"],
    overlaps: Shaped[np.ndarray, " n"],
    negatives: Shaped[np.ndarray, " n"],
    regions: int,
    limit: float = PRO_LIMIT,
) -> float | None:
    """PRO of 200 equally spaced thresholds, as APRIL-GAN and AnomalyCLIP compute it.

    Predicted is `score > threshold`; of the rates below the limit the lowest becomes 0 and the
    highest 1, without interpolation. Only for comparison with their tables: the result depends on
    the extreme scores. None where fewer than two different rates are below the limit.
    """
    low, high = float(scores[0]), float(scores[-1])
    thresholds = low + np.arange(_PRO_STEPS) * ((high - low) / _PRO_STEPS)
    above = len(scores) - np.searchsorted(scores, thresholds, side="right")
    false = np.concatenate([[0.0], _from_the_top(negatives)])
    rate = false[above] / false[-1]
    overlap = np.concatenate([[0.0], _from_the_top(overlaps)])[above] / regions
    kept = rate < limit
    rate, overlap = rate[kept][::-1], overlap[kept][::-1]  # the highest threshold first
    if not rate.size or rate[-1] == rate[0]:
        return None
    return float(np.trapezoid(overlap, (rate - rate[0]) / (rate[-1] - rate[0])))


class Curve(NamedTuple):
    """Points of an exact curve, from the highest threshold to the lowest."""

    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    thresholds: Float[np.ndarray, " n"]  # `score >= threshold` gives the point; inf is "nothing"


def roc_curve(
    scores: Float[np.ndarray, " n"],
    positives: Shaped[np.ndarray, " n"],
    negatives: Shaped[np.ndarray, " n"],
    points: int = CURVE_POINTS,
) -> Curve:
    """True-positive rate (y) over false-positive rate (x), from (0, 0) to (1, 1).

    There must be positives and negatives. See `thin_out` for what `points` does.
    """
    x = np.concatenate([[0.0], _from_the_top(negatives)])
    y = np.concatenate([[0.0], _from_the_top(positives)])
    return thin_out(Curve(x / x[-1], y / y[-1], _thresholds(scores)), points)


def precision_recall_curve(
    scores: Float[np.ndarray, " n"],
    positives: Shaped[np.ndarray, " n"],
    negatives: Shaped[np.ndarray, " n"],
    points: int = CURVE_POINTS,
) -> Curve:
    """Precision (y) over recall (x), to be drawn as steps; begins at (0, 1).

    There must be positives. See `thin_out` for what `points` does.
    """
    true, false = _from_the_top(positives), _from_the_top(negatives)
    seen = np.maximum(true + false, 1)  # 0 at scores that nothing has
    x = np.concatenate([[0.0], true / true[-1]])
    y = np.concatenate([[1.0], np.where(true + false > 0, true / seen, 1.0)])
    return thin_out(Curve(x, y, _thresholds(scores)), points)


def pro_curve(
    scores: Float[np.ndarray, " n"],
    overlaps: Shaped[np.ndarray, " n"],
    negatives: Shaped[np.ndarray, " n"],
    regions: int,
    limit: float = PRO_LIMIT,
    points: int = CURVE_POINTS,
) -> Curve:
    """Mean overlap of the regions (y) over false-positive rate (x), up to a rate of `limit`.

    Arguments as of `pro`; the last point is interpolated at the limit, as there.
    """
    x, y, end = _pro_up_to(overlaps, negatives, regions, limit)
    thresholds = _thresholds(scores)
    thresholds = np.append(thresholds[:end], thresholds[end : end + 1])[: len(x)]
    return thin_out(Curve(x, y, thresholds), points)


def thin_out(curve: Curve, points: int = CURVE_POINTS) -> Curve:
    """At most `points` of the curve's own points, its ends among them.

    They are spaced evenly along the curve's length (|dx| + |dy|), so that steep parts stay sharp.

    Raises:
        ValueError: fewer than two points asked for.
    """
    if points < 2:
        raise ValueError(f"points is {points}: expected at least 2")
    if len(curve.x) <= points:
        return curve
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(curve.x)) + np.abs(np.diff(curve.y)))])
    wanted = np.linspace(0.0, length[-1], points)
    chosen = np.searchsorted(length, wanted, side="left").clip(max=len(length) - 1)
    chosen[-1] = len(length) - 1
    chosen = np.unique(chosen)
    return Curve(curve.x[chosen], curve.y[chosen], curve.thresholds[chosen])


def score_counts(
    scores: Float[np.ndarray, " n"],
    positives: Shaped[np.ndarray, " n"],
    negatives: Shaped[np.ndarray, " n"],
    bins: int = 50,
) -> tuple[Float[np.ndarray, " edges"], Int[np.ndarray, " bins"], Int[np.ndarray, " bins"]]:
    """Edges of equal bins from the lowest to the highest score, positives and negatives in each."""
    if not len(scores):
        return np.linspace(0.0, 1.0, bins + 1), np.zeros(bins, np.int64), np.zeros(bins, np.int64)
    scores = scores.astype(np.float64)
    edges = np.histogram_bin_edges(scores, bins)
    counts = [np.histogram(scores, edges, weights=w)[0] for w in (positives, negatives)]
    return edges, counts[0].astype(np.int64), counts[1].astype(np.int64)


def _thresholds(scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n+1"]:
    return np.concatenate([[np.inf], scores[::-1].astype(np.float64)])
