"""A small UMCI of random weights, and tokens and text for it."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from zsas_jax.networks.umci import Umci, UmciConfig
from zsas_jax.testing import random_weights

CONFIG = UmciConfig(width=12, text_dim=10, hidden_dim=8, scale_kernels=(3, 9), layers=(1, 2))


def create(config, dtype=jnp.float32):
    return random_weights(lambda: Umci(config, rngs=nnx.Rngs(0)), scale=0.4, dtype=dtype)


def example(grid, config=CONFIG, dtype=np.float32, batch=2):
    generator = np.random.default_rng(1)
    n = grid[0] * grid[1]
    tokens = [generator.normal(size=(batch, n, config.width)).astype(dtype) for _ in config.layers]
    text = generator.normal(size=(batch, 2, config.text_dim)).astype(dtype)
    return tokens, text / np.linalg.norm(text, axis=-1, keepdims=True)
