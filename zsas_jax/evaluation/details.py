"""What report.json holds beside metrics.json, so that pages are made from directories."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from zsas_jax.evaluation.measure import Collector
from zsas_jax.metrics import StreamingMetrics

CURVE_POINTS = 150
SCORE_BINS = 20
_DIGITS = 5  # of curves; a picture has no more


def details_of(collector: Collector, key: str) -> dict[str, Any]:
    """Curves, score histograms, photos and pictures; `key` marks the run as finished."""
    return {
        "key": key,
        "categories": {
            category: _category(metrics) for category, metrics in sorted(collector.metrics.items())
        },
        "photos": [photo._asdict() for photo in sorted(collector.photos)],
        "strips": collector.strips.chosen(),
    }


def _category(metrics: StreamingMetrics) -> Mapping[str, Any]:
    counts = metrics.score_counts("image", SCORE_BINS)
    return {
        "curves": {
            name: [_rounded(curve.x), _rounded(curve.y)]
            for name, curve in metrics.curve_points(CURVE_POINTS).items()
        },
        "scores": {
            "edges": _rounded(counts.edges),
            "good": counts.normal.tolist(),
            "anomalous": counts.anomalous.tolist(),
        },
    }


def _rounded(values: np.ndarray) -> list[float]:
    return np.round(values, _DIGITS).tolist()
