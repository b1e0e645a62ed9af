"""UMCI, the trained module of ClipSAM: patch tokens and text features to a rough anomaly map."""

from zsas_jax.networks.base import Network
from zsas_jax.networks.umci.config import SMALL, UmciConfig, check_fit
from zsas_jax.networks.umci.model import Umci, anomaly_probability

# Its weights are published nowhere: they come from checkpoint directories of this package.
NETWORK = Network("umci", UmciConfig, Umci, small=SMALL, check=check_fit)

__all__ = ["NETWORK", "Umci", "UmciConfig", "anomaly_probability"]
