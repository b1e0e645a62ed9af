"""Areas and optima of threshold curves, from histograms over distinct scores.

Every function takes counts (or weights) per distinct score, in ASCENDING order of the score; ties
share an entry. On such histograms the results are exact.
"""

import numpy as np
from jaxtyping import Float, Shaped

PRO_LIMIT = 0.3  # false-positive rate up to which PRO is averaged (MVTec-AD's convention)


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
    rate = np.concatenate([[0.0], _from_the_top(negatives)])
    rate /= rate[-1]
    overlap = np.concatenate([[0.0], _from_the_top(overlaps) / regions])
    end = int(np.searchsorted(rate, limit, side="right"))  # rates before `end` are <= limit
    x, y = rate[:end], overlap[:end]
    if end < len(rate) and x[-1] < limit:
        share = (limit - rate[end - 1]) / (rate[end] - rate[end - 1])
        x = np.append(x, limit)
        y = np.append(y, overlap[end - 1] + share * (overlap[end] - overlap[end - 1]))
    return float(np.trapezoid(y, x) / limit)
