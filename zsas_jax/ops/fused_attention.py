"""Attention by cuDNN's fused kernel on NVIDIA GPUs, SAM's relative positions included.

The kernel knows no decomposed bias, and a full one would be quadratic in tokens. So it is folded
into the product of queries and keys (the query's relative positions beside its channels, the key's
row and column as one-hot vectors beside its own):

    [scale q, rel_h, rel_w] . [k, onehot(y), onehot(x)] = scale q . k + rel_h[y] + rel_w[x]
"""

import functools
import math
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

DTYPES = (jnp.bfloat16, jnp.float16)
# The kernel takes widths that are multiples of 8, up to 128, or 256 from Hopper on.
WIDTH_MULTIPLE = 8
# Shorter sequences are as fast without it.
SHORTEST = 128


def is_available(query: Array, key: Array, value: Array, rel_h: Array | None) -> bool:
    """Whether this process's GPU has the kernel for such operands: dtype, sizes, and a trial.

    What the installed cuDNN refuses for this card shows when a program of these shapes is compiled.
    Where it holds, the program may still be one for a CPU.
    """
    tokens = query.shape[-3]
    if not query.dtype == key.dtype == value.dtype or query.dtype not in DTYPES:
        return False
    if tokens < SHORTEST or query.ndim < 3:
        return False
    extra = 0 if rel_h is None else rel_h.shape[-1] + key.shape[-3] // rel_h.shape[-1]
    width = _padded(max(query.shape[-1] + extra, value.shape[-1]))
    return width <= 256 and compiles(tokens, key.shape[-3], query.shape[-2], width, query.dtype)


@functools.cache
def compiles(
    queries: int,
    keys: int,
    heads: int,
    width: int,
    dtype: jnp.dtype,
    gradient: bool = False,
) -> bool:
    """Whether the kernel, or its backward pass, is there for these sizes; tried once for each."""
    shapes = [
        jax.ShapeDtypeStruct((1, tokens, heads, width), dtype) for tokens in (queries, keys, keys)
    ]
    function = functools.partial(_kernel, implementation="cudnn", even=gradient)
    if gradient:
        forward = function
        function = jax.grad(lambda *operands: jnp.sum(forward(*operands)), argnums=(0, 1, 2))
    try:
        with jax.default_device(jax.devices("cuda")[0]):
            jax.jit(function).lower(*shapes).compile()
    # No NVIDIA GPU, and what versions of cuDNN, cards and JAX refuse in errors of many kinds.
    except Exception:
        return False
    return True


def attention(
    query: Float[Array, "*batch q heads d"],
    key: Float[Array, "*batch k heads d"],
    value: Float[Array, "*batch k heads e"],
    rel_h: Float[Array, "*batch heads q k_h"] | None,
    rel_w: Float[Array, "*batch heads q k_w"] | None,
    *,
    scale: float,
    fallback: Callable[..., Array],
    implementation: str = "cudnn",
) -> Float[Array, "*batch q heads e"]:
    """`zsas_jax.ops.attention.attention` without mask and bias, by `jax.nn`'s fused kernel.

    The backward pass is the kernel's own where it has one for this width, else that of `fallback`,
    the same function of the five arrays.
    """

    def run(even, query, key, value, rel_h, rel_w):
        folded = fold(query, key, value, rel_h, rel_w, scale)
        flat = [array.reshape(-1, *array.shape[-3:]) for array in folded]
        result = _kernel(*flat, implementation=implementation, even=even)
        return result.reshape(*query.shape[:-1], -1)[..., : value.shape[-1]]

    forward = functools.partial(run, False)

    def backward(operands, gradient):
        folded = jax.eval_shape(functools.partial(fold, scale=scale), *operands)
        queries, heads, width = folded[0].shape[-3:]
        keys, dtype = folded[1].shape[-3], folded[0].dtype
        own = compiles(queries, keys, heads, width, dtype, gradient=True)
        function = functools.partial(run, True) if own else fallback
        return jax.vjp(function, *operands)[1](gradient)

    fused = jax.custom_vjp(forward)
    fused.defvjp(lambda *operands: (forward(*operands), operands), backward)
    return fused(query, key, value, rel_h, rel_w)


def _kernel(
    query: Array, key: Array, value: Array, implementation: str, even: bool = False
) -> Array:
    """Scale 1. `even` pads odd numbers of tokens, of which the kernel knows no backward pass."""
    attention = cast(Callable[..., Array], jax.nn.dot_product_attention)
    batch, queries, keys = query.shape[0], query.shape[1], key.shape[1]
    lengths = {}
    if even and (queries % 2 or keys % 2):
        query, key, value = (
            jnp.pad(array, ((0, 0), (0, array.shape[1] % 2), (0, 0), (0, 0)))
            for array in (query, key, value)
        )
        lengths = {
            "query_seq_lengths": jnp.full(batch, queries, jnp.int32),
            "key_value_seq_lengths": jnp.full(batch, keys, jnp.int32),
        }
    result = attention(query, key, value, scale=1.0, implementation=implementation, **lengths)
    return result[:, :queries]


def fold(
    query: Float[Array, "*batch q heads d"],
    key: Float[Array, "*batch k heads d"],
    value: Float[Array, "*batch k heads e"],
    rel_h: Float[Array, "*batch heads q k_h"] | None,
    rel_w: Float[Array, "*batch heads q k_w"] | None,
    scale: float,
) -> tuple[
    Float[Array, "*batch q heads c"],
    Float[Array, "*batch k heads c"],
    Float[Array, "*batch k heads c"],
]:
    """Query, key and value of one width, whose plain attention of scale 1 is the wanted one."""
    queries = [(query.astype(jnp.float32) * scale).astype(query.dtype)]
    keys = [key]
    if rel_h is not None and rel_w is not None:
        rows, columns = rel_h.shape[-1], rel_w.shape[-1]
        queries += [jnp.swapaxes(half, -3, -2).astype(query.dtype) for half in (rel_h, rel_w)]
        y, x = np.divmod(np.arange(rows * columns), columns)
        where = np.concatenate([np.eye(rows)[y], np.eye(columns)[x]], axis=1)
        one_hot = jnp.asarray(where, key.dtype)[:, None]
        keys.append(jnp.broadcast_to(one_hot, (*key.shape[:-1], rows + columns)))
    folded = [jnp.concatenate(queries, axis=-1), jnp.concatenate(keys, axis=-1), value]
    width = _padded(max(array.shape[-1] for array in folded))
    query, key, value = (
        jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, width - array.shape[-1])])
        for array in folded
    )
    return query, key, value


def _padded(width: int) -> int:
    return WIDTH_MULTIPLE * math.ceil(width / WIDTH_MULTIPLE)
