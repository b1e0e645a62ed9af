"""The sizes of a SAM that runs in no time, for tests of what is built around it."""

from zsas_jax.networks.sam.config import SMALL as SMALL_SAM

__all__ = ["SMALL_SAM"]
