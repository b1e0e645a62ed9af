"""UMCI's averages, gradients and dtypes, without PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_umci import CONFIG, create, example

from zsas_jax.errors import ConfigError
from zsas_jax.networks.umci import Umci, UmciConfig, anomaly_probability

RUN = jax.jit(Umci.__call__, static_argnums=2)
PROBABILITY = jax.jit(anomaly_probability, static_argnums=(2, 4))


def test_probability_is_the_mean_over_stages_of_the_abnormal_channel():
    grid = (3, 4)
    umci = create(CONFIG)
    tokens, text = example(grid)
    tokens = [jnp.asarray(x) for x in tokens]
    logits = np.asarray(RUN(umci, tokens, grid, jnp.asarray(text)), np.float64)
    odds = np.exp(logits)
    expected = (odds[..., 1] / odds.sum(-1)).mean(axis=1)
    found = PROBABILITY(umci, tokens, grid, jnp.asarray(text))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    last = PROBABILITY(umci, tokens[1:], grid, jnp.asarray(text), 1)
    np.testing.assert_allclose(last, odds[:, 1, ..., 1] / odds[:, 1].sum(-1), atol=1e-6)
    assert np.abs(last - found).max() > 0.01


def test_gradients_are_finite_where_norms_vanish():
    umci = jax.tree.map(jnp.zeros_like, create(CONFIG))
    tokens = [jnp.zeros((1, 12, CONFIG.width)) for _ in CONFIG.layers]
    text = jnp.zeros((1, 2, CONFIG.text_dim))
    gradient = jax.jit(jax.grad(lambda m: anomaly_probability(m, tokens, (3, 4), text).sum()))(umci)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_every_parameter_matters():
    umci = create(CONFIG)
    tokens, text = example((5, 6))
    tokens = [jnp.asarray(x) for x in tokens]
    weights = jnp.arange(60.0).reshape(2, 5, 6)

    def loss(model):
        return (anomaly_probability(model, tokens, (5, 6), jnp.asarray(text)) * weights).sum()

    for path, leaf in jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(umci)):
        # A key's bias shifts all scores of a softmax alike.
        if not jax.tree_util.keystr(path).endswith(".text_key.bias.value"):
            assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_works_in_bfloat16():
    umci = create(CONFIG, dtype=jnp.bfloat16)
    tokens, text = example((4, 5))
    tokens = [jnp.asarray(x) for x in tokens]
    assert RUN(umci, tokens, (4, 5), jnp.asarray(text)).dtype == jnp.bfloat16
    assert PROBABILITY(umci, tokens, (4, 5), jnp.asarray(text)).dtype == jnp.float32


def test_wrong_number_of_stages_and_bad_sizes_are_errors():
    umci = create(CONFIG)
    with pytest.raises(ValueError, match="expected one for each of 2 stages"):
        umci([jnp.zeros((1, 1, 12))], (1, 1), jnp.zeros((1, 2, 10)))
    with pytest.raises(ConfigError, match="hidden_dim"):
        UmciConfig(hidden_dim=0)
    with pytest.raises(ConfigError, match="layers"):
        UmciConfig(layers=())
