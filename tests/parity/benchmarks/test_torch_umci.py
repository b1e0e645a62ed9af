"""The benchmark's PyTorch writing is the same module: loss and gradients equal ours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zsas_jax.networks.umci import Umci, UmciConfig
from zsas_jax.ops import losses
from zsas_jax.testing import random_weights

torch = pytest.importorskip("torch")

WEIGHTS = (0.3, 0.7)
CONFIG = UmciConfig(width=6, text_dim=10, hidden_dim=8, scale_kernels=(3, 5), layers=(1, 2))


def test_loss_and_gradients_of_the_whole_module_equal_pytorch():
    from zsas_jax.benchmarks import torch_umci

    umci = random_weights(lambda: Umci(CONFIG, rngs=nnx.Rngs(0)), scale=0.4, dtype=jnp.float32)
    rng = np.random.default_rng(0)
    grid = (5, 7)
    tokens = [rng.normal(size=(3, 35, 6)).astype(np.float32) for _ in WEIGHTS]
    text = rng.normal(size=(3, 2, 10)).astype(np.float32)
    masks = (rng.random((3, 20, 28)) < 0.2).astype(np.float32)
    graphdef, params, rest = nnx.split(umci, nnx.Param, ...)

    @jax.jit
    def ours(params, inputs):
        logits = nnx.merge(graphdef, params, rest)(inputs, grid, jnp.asarray(text))
        return losses.umci_loss(logits, jnp.asarray(masks), WEIGHTS)

    inputs = [jnp.asarray(rows) for rows in tokens]
    value, (of_params, of_tokens) = jax.value_and_grad(ours, (0, 1))(params, inputs)

    module = torch_umci.torch_umci(umci)
    leaves = [torch.tensor(rows, requires_grad=True) for rows in tokens]
    expected = torch_umci.umci_loss(
        module(leaves, torch.from_numpy(text), grid), torch.from_numpy(masks), WEIGHTS
    )
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    for found, leaf in zip(of_tokens, leaves, strict=True):
        scale = leaf.grad.abs().max().item()
        np.testing.assert_allclose(found / scale, leaf.grad.numpy() / scale, atol=2e-5)
    # Of the parameters: the squares' sum, and one kernel through the whole module.
    total = sum(float((leaf.astype(jnp.float32) ** 2).sum()) for leaf in jax.tree.leaves(of_params))
    theirs = sum(float((p.grad**2).sum()) for p in module.parameters())
    np.testing.assert_allclose(total, theirs, rtol=1e-4)
    kernel = of_params["stages"][0]["proj"]["kernel"][...]
    weight = module.stages[0].proj.weight.grad.T.numpy()
    np.testing.assert_allclose(kernel, weight, atol=2e-5 * np.abs(weight).max())
