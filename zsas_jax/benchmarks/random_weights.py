"""Networks of random weights: speed does not depend on what was learnt."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx


def randomise(network: Any, seed: int = 0) -> Any:
    """A network, abstract or not, with noise of the size of trained weights in every leaf."""
    graph, state = nnx.split(network)
    generator = np.random.default_rng(seed)
    leaves = []
    for path, variable in nnx.to_flat_state(state):
        leaf = variable.get_value()
        noise = generator.standard_normal(leaf.shape, np.float32)
        if path[-1] == "logit_scale":
            noise = np.log(100.0)
        elif path[-1] == "kernel":
            noise *= np.prod(leaf.shape[:-1]) ** -0.5
        elif path[-1] != "positional_encoding_gaussian_matrix":
            noise = (path[-1] == "scale") + (0.1 if len(leaf.shape) == 1 else 0.3) * noise
        leaves.append((path, variable.replace(jnp.asarray(noise, leaf.dtype))))
    return nnx.merge(graph, nnx.from_flat_state(leaves))
