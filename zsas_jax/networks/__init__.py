"""The networks by name: one folder each, one line here. See `base` for what a network is."""

from zsas_jax.networks import clip, sam, umci
from zsas_jax.networks.base import (
    NETWORKS,
    Network,
    Networks,
    abstract_networks,
    create_networks,
    register,
)

for _network in (clip.NETWORK, sam.NETWORK, umci.NETWORK):
    register(_network)

__all__ = [
    "NETWORKS",
    "Network",
    "Networks",
    "abstract_networks",
    "create_networks",
    "register",
]
