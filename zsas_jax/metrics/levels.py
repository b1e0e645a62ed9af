"""What pixels and images share: metrics and curves of distinct scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from zsas_jax.metrics import curves


def distinct(
    scores: Sequence[float], labels: Sequence[int]
) -> tuple[Float[np.ndarray, " n"], Shaped[np.ndarray, " n"], Shaped[np.ndarray, " n"]]:
    """Distinct scores in ascending order, positives and negatives of each."""
    distinct, index = np.unique(np.array(scores, np.float64), return_inverse=True)
    positives = np.bincount(index, np.array(labels, np.float64), minlength=len(distinct))
    return distinct, positives, np.bincount(index, minlength=len(distinct)) - positives


def level_curves(
    level: str, scores: np.ndarray, positives: np.ndarray, negatives: np.ndarray, points: int
) -> dict[str, curves.Curve]:
    found = {}
    if positives.sum():
        precision_recall = curves.precision_recall_curve(scores, positives, negatives, points)
        found[f"{level}_precision_recall"] = precision_recall
        if negatives.sum():
            found[f"{level}_roc"] = curves.roc_curve(scores, positives, negatives, points)
    return found


def fill(
    result: dict[str, Any],
    reasons: dict[str, str],
    level: str,
    scores: np.ndarray,
    positives: np.ndarray,
    negatives: np.ndarray,
) -> None:
    """Sets the three metrics that pixels and images share, or says why they are undefined."""
    names = [f"{level}_{name}" for name in ("auroc", "ap", "f1_max")]
    if not positives.sum():
        found = f"no anomalous {level}s" if len(scores) else f"no labelled {level}s"
        reasons |= dict.fromkeys(names, found)
        return
    result[names[1]] = curves.average_precision(positives, negatives)
    result[names[2]], best = curves.f1_max(positives, negatives)
    result[names[2] + "_threshold"] = float(scores[best])
    if negatives.sum():
        result[names[0]] = curves.auroc(positives, negatives)
    else:
        reasons[names[0]] = f"no normal {level}s"
