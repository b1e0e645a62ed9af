"""What metrics are called in tables, in the order of their columns."""

from zsas_jax.metrics.streaming import METRICS

TITLES = {
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "pixel_pro": "PRO",
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "region_f1": "region F1",
    "boundary_f1": "boundary F1",
    "pixel_pro_200": "PRO (200)",
}
EXTRA = tuple(name for name in TITLES if name not in METRICS)
"""Metrics that are measured only where `MetricOptions` asks for them."""
