"""Random weights for any network without compiling its initialisers."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def random_weights(create: Callable, seed: int = 0, scale: float = 0.3, dtype=jnp.float32):
    """The network that `create` makes, every array overwritten with noise; norms vary around 1."""
    generator = np.random.default_rng(seed)

    def noise(path, leaf):
        is_norm = jax.tree_util.keystr(path[-2:]).startswith(".scale")
        return jnp.asarray(is_norm + scale * generator.normal(size=leaf.shape), dtype)

    return jax.tree_util.tree_map_with_path(noise, nnx.eval_shape(create))
