"""Small layers shared by CLIP and SAM, with PyTorch's semantics.

Parameters are named as in Flax (`kernel`, `bias`, `scale`), so that the weight converter can tell
from a module's type how PyTorch stores it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.core
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from zsas_jax.errors import ConfigError

Model = TypeVar("Model")


class Buffer(nnx.Variable):
    """A stored array that is no parameter: no gradient, no optimiser (SAM's Gaussian matrix)."""


@jax.jit
def run_block(block: Callable[..., Array], *arguments: Array) -> Array:
    """A block of a tower as a function of its own: blocks that are alike are traced once.

    XLA inlines it, so that the program is the same.
    """
    return block(*arguments)


class LayerNorm(nnx.Module):
    """Layer normalisation over the last axis, two-pass variance, statistics in at least float32.

    PyTorch's `LayerNorm`, and SAM's `LayerNorm2d` too, because activations are channels last.
    """

    def __init__(self, features: int, *, eps: float, rngs: nnx.Rngs, param_dtype=jnp.float32):
        del rngs  # ones and zeros need no randomness; taken as every constructor takes it
        self.scale = nnx.Param(jnp.ones((features,), param_dtype))
        self.bias = nnx.Param(jnp.zeros((features,), param_dtype))
        self.eps = eps

    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        wide = x.astype(accumulation_dtype(x))
        centred = wide - wide.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        normalised = centred * jax.lax.rsqrt(variance + self.eps)
        return (normalised * self.scale[...] + self.bias[...]).astype(x.dtype)


class Linear(nnx.Linear):
    """x kernel + bias in the bias's dtype.

    Where the kernel is narrower (`cast_parameters`), the product takes its inputs as narrow and
    adds up in the bias's dtype.
    """

    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        kernel, bias = self.kernel[...], self.bias
        wide = kernel.dtype if bias is None else bias.dtype
        product = jnp.matmul(x.astype(kernel.dtype), kernel, preferred_element_type=wide)
        return product if bias is None else product + bias[...]


class Mlp(nnx.Module):
    """Linear, activation, Linear: SAM's transformer MLP (`lin1`, `lin2`)."""

    def __init__(
        self,
        features: int,
        hidden: int,
        *,
        activation: Callable,
        rngs: nnx.Rngs,
        param_dtype=jnp.float32,
    ):
        self.lin1 = Linear(features, hidden, rngs=rngs, param_dtype=param_dtype)
        self.lin2 = Linear(hidden, features, rngs=rngs, param_dtype=param_dtype)
        self.activation = activation

    def __call__(self, x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
        return self.lin2(self.activation(self.lin1(x)))


def parameter_dtype(shape: tuple[int, ...], dtype: jax.typing.DTypeLike) -> jnp.dtype:
    """The dtype of a parameter in a model of `dtype`: scalars have at least float32.

    CLIP's logit scale, ln 100, would be 1.1 % off in bfloat16 after its exponential.
    """
    return jnp.dtype(dtype) if shape else jnp.promote_types(dtype, jnp.float32)


def cast_parameters(model: Model, dtype: str, platform: str | None = None) -> Model:
    """A module, or anything of modules, with its `nnx.Param`s in `dtype`; buffers keep theirs.

    CPUs know bfloat16 in matrix products alone and convert before and after everything else: there
    "bfloat16" narrows the kernels of `Linear` layers, and what is not a product stays float32.
    Scalars stay wide (`parameter_dtype`).

    Args:
        model: may hold traced arrays.
        dtype: "float32", "bfloat16" or "float64".
        platform: where the result will compute, "cpu" for example; by default where the model is,
            or, if it is traced, JAX's default device.

    Raises:
        ConfigError: float64 without JAX's 64-bit mode, in which it would be float32.
    """
    if dtype == "float64" and not jax.config.jax_enable_x64:  # pyright: ignore
        raise ConfigError("compute dtype is float64: expected JAX_ENABLE_X64=1 beside it")
    graphdef, parameters, others = nnx.split(model, nnx.Param, ...)
    elsewhere, kernels = dtype, set()
    if dtype == "bfloat16" and (platform or _platform(parameters)) == "cpu":
        elsewhere = "float32"
        kernels = {
            (*path, "kernel") for path, module in nnx.iter_graph(model) if type(module) is Linear
        }

    def cast(path, leaf):
        return leaf.astype(parameter_dtype(leaf.shape, dtype if path in kernels else elsewhere))

    return nnx.merge(graphdef, nnx.map_state(cast, parameters), others)


def _platform(arrays: Any) -> str:
    """Where arrays are.

    A dtype is part of a traced program's types, so that `jax.lax.platform_dependent`, which chooses
    when a program is lowered, comes too late for it. Traced arrays are nowhere yet: they will be
    where jit puts what is not committed to a device.
    """
    for leaf in jax.tree.leaves(arrays):
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer):
            return next(iter(leaf.devices())).platform
    return jax.default_backend()


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The exact, erf-based GELU: SAM and open_clip's LAION weights."""
    return jax.nn.gelu(x, approximate=False)


def quick_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """OpenAI's x * sigmoid(1.702 x)."""
    return x * jax.nn.sigmoid(1.702 * x)


def unit(x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
    """L2-normalised over the last axis, in at least float32; zero stays zero, gradient finite."""
    wide = x.astype(accumulation_dtype(x))
    squared = jnp.sum(wide * wide, axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(jnp.maximum(squared, 1e-24))).astype(x.dtype)


def accumulation_dtype(*arrays: Array) -> jnp.dtype:
    """The dtype of norms, softmax and scores: at least float32, float64 for float64 inputs."""
    return jnp.promote_types(jnp.result_type(*arrays), jnp.float32)
