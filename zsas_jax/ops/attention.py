"""Exact attention with PyTorch's semantics, in bounded memory for long sequences."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from zsas_jax.ops.layers import accumulation_dtype

# From this many scores per head on, heads and blocks of queries are computed one after another.
BLOCKED_FROM_SCORES = 1024 * 1024
QUERIES_PER_BLOCK = 512


def attention(
    query: Float[Array, "*batch q heads d"],
    key: Float[Array, "*batch k heads d"],
    value: Float[Array, "*batch k heads e"],
    *,
    bias: Float[Array, "..."] | None = None,
    mask: Bool[Array, "..."] | None = None,
    scale: float | None = None,
    rel_h: Float[Array, "*batch heads q k_h"] | None = None,
    rel_w: Float[Array, "*batch heads q k_w"] | None = None,
) -> Float[Array, "*batch q heads e"]:
    """softmax(scale * query key^T + bias) value, the softmax in at least float32.

    `bias` and `mask` (True = attended) broadcast to [*batch, heads, q, k]. `rel_h` and `rel_w`
    (always together) are SAM's decomposed bias: key number y * k_w + x gets rel_h[..., y] +
    rel_w[..., x]. `scale` defaults to d ** -0.5. A query whose keys are all masked gives zeros.
    Long sequences are mapped over heads and blocks of queries, recomputed in the backward pass,
    so that no [q, k] array of all heads exists; the result is the same exact softmax.
    """
    if (rel_h is None) != (rel_w is None):
        raise ValueError("rel_h and rel_w are the two halves of one bias: give both or neither")
    heads_first = {
        "query": jnp.swapaxes(query, -3, -2),
        "key": jnp.swapaxes(key, -3, -2),
        "value": jnp.swapaxes(value, -3, -2),
        "bias": bias if bias is None else _at_least_3d(bias),
        "mask": mask if mask is None else _at_least_3d(mask),
        "rel_h": rel_h,
        "rel_w": rel_w,
    }
    operands = {name: array for name, array in heads_first.items() if array is not None}
    if scale is None:
        scale = math.sqrt(1 / query.shape[-1])
    if query.shape[-3] * key.shape[-3] < BLOCKED_FROM_SCORES:
        result = _softmax_average(operands, scale)
    else:
        result = _map_heads(operands, scale)
    return jnp.swapaxes(result, -3, -2)


def _softmax_average(operands: dict[str, Array], scale: float) -> Array:
    """The attention itself, on operands with axes [..., queries or keys, channels]."""
    query, key, value = operands["query"], operands["key"], operands["value"]
    dtype = accumulation_dtype(query)
    scores = jnp.einsum("...qd,...kd->...qk", query, key, preferred_element_type=dtype)
    scores = scores * scale
    if "bias" in operands:
        scores = scores + operands["bias"]
    if "rel_h" in operands:
        relative = operands["rel_h"][..., :, None] + operands["rel_w"][..., None, :]
        scores = scores + relative.reshape(scores.shape)
    mask = operands.get("mask")
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)
    if mask is not None:
        weights = jnp.where(mask, weights, 0)
    weights = weights.astype(value.dtype)
    return jnp.einsum("...qk,...ke->...qe", weights, value)


def _map_heads(operands: dict[str, Array], scale: float) -> Array:
    """Heads (axis -3) one after another; operands shared by all heads are not copied."""
    heads = operands["query"].shape[-3]
    mapped = {
        name: jnp.moveaxis(array, -3, 0)
        for name, array in operands.items()
        if array.shape[-3] == heads
    }
    shared = {name: array[..., 0, :, :] for name, array in operands.items() if name not in mapped}
    result = jax.lax.map(lambda one_head: _map_queries({**shared, **one_head}, scale), mapped)
    return jnp.moveaxis(result, 0, -3)


def _map_queries(operands: dict[str, Array], scale: float) -> Array:
    """Blocks of queries (axis -2) one after another, all of one size; the last is padded."""
    queries = operands["query"].shape[-2]
    blocks = math.ceil(queries / QUERIES_PER_BLOCK)
    size = math.ceil(queries / blocks)

    def split(array: Array) -> Array:
        padding = [(0, 0)] * array.ndim
        padding[-2] = (0, blocks * size - queries)
        padded = jnp.pad(array, padding)
        return jnp.moveaxis(
            padded.reshape(*padded.shape[:-2], blocks, size, padded.shape[-1]), -3, 0
        )

    per_query = {"query", "rel_h", "rel_w"} | {
        name for name in ("bias", "mask") if name in operands and operands[name].shape[-2] > 1
    }
    mapped = {name: split(array) for name, array in operands.items() if name in per_query}
    shared = {name: array for name, array in operands.items() if name not in per_query}
    # checkpoint: the backward pass recomputes each block's softmax instead of storing them all.
    block = jax.checkpoint(lambda one_block: _softmax_average({**shared, **one_block}, scale))
    result = jnp.moveaxis(jax.lax.map(block, mapped), 0, -3)
    return result.reshape(*result.shape[:-3], blocks * size, -1)[..., :queries, :]


def _at_least_3d(array: Array) -> Array:
    return array.reshape((1,) * (3 - array.ndim) + array.shape)
