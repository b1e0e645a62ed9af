"""report.json: what a report shows beside metrics.json, so that pages are made from directories."""

import json
import pathlib
from typing import Any

import numpy as np

from zsas_jax.errors import ConfigError
from zsas_jax.metrics import StreamingMetrics
from zsas_jax.report.collector import Collector
from zsas_jax.report.files import save_json
from zsas_jax.report.results import DETAILS_FILE

CURVE_POINTS = 150
SCORE_BINS = 20
_DIGITS = 5  # of curves; a picture has no more


def save(
    directory: pathlib.Path, key: str, collector: Collector, strips: list[dict[str, Any]]
) -> None:
    """Writes report.json: curves, score histograms, photos and pictures; the mark of a finished
    run.
    """
    details = {
        "key": key,
        "categories": {
            category: _category(metrics) for category, metrics in sorted(collector.metrics.items())
        },
        "photos": [photo._asdict() for photo in sorted(collector.photos)],
        "strips": strips,
    }
    save_json(directory / DETAILS_FILE, details)


def load(directory: pathlib.Path) -> dict[str, Any]:
    """Reads report.json.

    Raises:
        ConfigError: it is missing or damaged.
    """
    path = directory / DETAILS_FILE
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} is missing: expected a directory that evaluate.py wrote and finished"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: expected JSON ({error})") from error


def _category(metrics: StreamingMetrics) -> dict[str, Any]:
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
