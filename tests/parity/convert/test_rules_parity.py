"""Converted layers of every kind equal PyTorch's."""

import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as functional
from one_of_each import IGNORED, RULES, source, target

from zsas_jax.convert.rules import convert
from zsas_jax.ops.layers import Buffer


def test_every_layer_equals_torch():
    weights = source() | {"num_batches_tracked": np.array(3)}
    network = convert(target(), weights, RULES, IGNORED)
    tensors = {name: torch.tensor(array) for name, array in weights.items()}

    image = np.random.default_rng(1).normal(size=(2, 5, 6, 4)).astype(np.float32)
    nchw = torch.tensor(image).permute(0, 3, 1, 2)
    for name, function in (
        ("stem", functional.conv2d),
        ("up", functional.conv_transpose2d),
        ("up_flipping", functional.conv_transpose2d),
    ):
        stride = 1 if name == "stem" else 4
        theirs = function(nchw, tensors[f"{name}.weight"], tensors[f"{name}.bias"], stride=stride)
        ours = getattr(network, name)(jnp.asarray(image))
        np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1), atol=1e-5)

    x, tensor = jnp.asarray(image[0, 0]), torch.tensor(image[0, 0])
    linear = functional.linear(tensor, tensors["layers.0.weight"], tensors["layers.0.bias"])
    np.testing.assert_allclose(network.blocks[0](x), linear, atol=1e-6)
    weight, bias = tensors["layers.1.weight"], tensors["layers.1.bias"]
    normed = functional.layer_norm(tensor, (4,), weight, bias, 1e-5)
    np.testing.assert_allclose(network.blocks[1](x), normed, atol=1e-5)
    fused = torch.cat(
        [functional.linear(tensor, tensors[f"{p}.weight"], tensors[f"{p}.bias"]) for p in "qkv"], -1
    )
    np.testing.assert_allclose(network.fused(x), fused, atol=1e-6)
    embedded = functional.embedding(torch.tensor([3, 1]), tensors["words.weight"])
    np.testing.assert_array_equal(network.words(jnp.array([3, 1])), embedded)
    np.testing.assert_array_equal(network.proj[...], weights["projection.weight"].T)
    np.testing.assert_array_equal(network.fixed[...], weights["fixed"])
    assert isinstance(network.fixed, Buffer)
