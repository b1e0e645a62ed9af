"""Small networks with random weights, for tests of this package and of what builds on it.

bundle = zsas_jax.testing.dummy_bundle()
zsas_jax.save("runs/dummy", bundle)
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zsas_jax.checkpoints import Bundle, Config
from zsas_jax.data.phrases import ABNORMAL_STATES, NORMAL_STATES, TEMPLATES
from zsas_jax.networks import NETWORKS
from zsas_jax.networks.base import OneKey, create_networks


def dummy_bundle(networks: Sequence[str] | None = None, seed: int = 0) -> Bundle:
    """Networks of a few thousand parameters and their tokenizers; results mean nothing.

    Args:
        networks: names of those to make; None makes all that have a small config.
        seed: of the random weights.
    """
    names = [name for name, network in NETWORKS.items() if network.small is not None]
    configs = {name: NETWORKS[name].small for name in names if networks is None or name in networks}
    tokenizers = {}
    for name, config in configs.items():
        kind = NETWORKS[name].tokenizer
        if kind is not None and kind.train is not None:
            tokenizers[name] = kind.train(_sentences(), config)
    model = random_weights(lambda: create_networks(configs, rngs=OneKey(0)), seed, 0.25)
    return Bundle(model, tokenizers, Config(configs))


def random_weights(
    create: Callable[[], Any], seed: int = 0, scale: float = 0.3, dtype: Any = jnp.float32
) -> Any:
    """The network that `create` makes, every array overwritten with noise; norms vary around 1.

    No initialiser is compiled. Zeros and ones of a fresh network would hide mistakes.
    """
    generator = np.random.default_rng(seed)

    def noise(path, leaf):
        is_norm = jax.tree_util.keystr(path[-2:]).startswith(".scale")
        return jnp.asarray(is_norm + scale * generator.normal(size=leaf.shape), dtype)

    return jax.tree_util.tree_map_with_path(noise, nnx.eval_shape(create))


def _sentences() -> list[str]:
    states = [state.replace("{}", "object") for state in (*NORMAL_STATES, *ABNORMAL_STATES)]
    return [template.replace("{}", state) for template in TEMPLATES for state in states]
