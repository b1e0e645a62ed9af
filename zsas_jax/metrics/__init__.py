"""Exact metrics of anomaly maps: AUROC, AP, F1-max and PRO of pixels and images, in one pass."""

from zsas_jax.metrics.streaming import (
    METRICS,
    MetricsError,
    StreamingMetrics,
    evaluate_maps,
    mean_result,
)

__all__ = ["METRICS", "MetricsError", "StreamingMetrics", "evaluate_maps", "mean_result"]
