"""UMCI, the trained module of ClipSAM: patch tokens and text features to a rough anomaly map."""

from zsas_jax.umci.config import UmciConfig
from zsas_jax.umci.model import Umci, anomaly_probability

__all__ = ["Umci", "UmciConfig", "anomaly_probability"]
