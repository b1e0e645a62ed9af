"""Exact metrics of anomaly maps: AUROC, AP, F1-max and PRO of pixels and images, in one pass."""

from zsas_jax.metrics.arrays import evaluate_maps, mean_result
from zsas_jax.metrics.bootstrap import intervals, mean_replicates
from zsas_jax.metrics.curves import Curve
from zsas_jax.metrics.options import MetricOptions
from zsas_jax.metrics.storage import load_metrics, save_metrics
from zsas_jax.metrics.streaming import METRICS, MetricsError, ScoreCounts, StreamingMetrics

__all__ = [
    "METRICS",
    "Curve",
    "MetricOptions",
    "MetricsError",
    "ScoreCounts",
    "StreamingMetrics",
    "evaluate_maps",
    "intervals",
    "load_metrics",
    "mean_replicates",
    "mean_result",
    "save_metrics",
]
