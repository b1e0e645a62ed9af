"""Random weights for any network without compiling its initialisers."""

from zsas_jax.testing import random_weights

__all__ = ["random_weights"]
