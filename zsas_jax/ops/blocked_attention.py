"""Exact attention in plain XLA, in bounded memory for long sequences, forwards and backwards."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from zsas_jax.ops.layers import accumulation_dtype

# More scores than these are computed in pieces: on CPUs such that a piece stays in the cache, on
# accelerators only to bound memory.
SCORES_AT_ONCE = 2**21
SCORES_AT_ONCE_ELSEWHERE = 2**26
# From this many scores of one head on, the backward pass computes them again instead of keeping
# them.
RECOMPUTED_FROM_SCORES = 2**20
# Scores of a piece of the backward pass of plain attention on CPUs.
GRADIENT_SCORES_AT_ONCE = 2**20
# Heads with fewer scores are left to automatic differentiation.
OWN_GRADIENT_FROM_SCORES = 2**18


def blocked_attention(
    query: Float[Array, "*batch q heads d"],
    key: Float[Array, "*batch k heads d"],
    value: Float[Array, "*batch k heads e"],
    *,
    bias: Float[Array, "..."] | None = None,
    mask: Bool[Array, "..."] | None = None,
    scale: float,
    rel_h: Float[Array, "*batch heads q k_h"] | None = None,
    rel_w: Float[Array, "*batch heads q k_w"] | None = None,
) -> Float[Array, "*batch q heads e"]:
    """`zsas_jax.ops.attention.attention` in plain XLA, on any machine."""
    # One pass over the scores less; narrower queries would lose digits, but for powers of two.
    if query.dtype == accumulation_dtype(query) or math.frexp(scale)[0] == 0.5:
        query, scale = query * scale, 1.0
    heads_first = {
        "query": jnp.swapaxes(query, -3, -2),
        "key": jnp.swapaxes(key, -3, -2),
        "value": jnp.swapaxes(value, -3, -2),
        "bias": bias,
        "mask": mask,
        "rel_h": rel_h,
        "rel_w": rel_w,
    }
    axes = query.ndim
    operands = {
        name: array.reshape((1,) * (axes - array.ndim) + array.shape)
        for name, array in heads_first.items()
        if array is not None
    }
    if _scores(operands) <= SCORES_AT_ONCE and not _has_own_gradient(operands, scale):
        result = _softmax_average(operands, scale)  # One piece on any machine.
    else:
        result = jax.lax.platform_dependent(
            operands,
            cpu=functools.partial(on_cpu, scale=scale),
            default=functools.partial(on_accelerators, scale=scale),
        )
    return jnp.swapaxes(result, -3, -2)


def on_cpu(operands: dict[str, Array], scale: float) -> Array:
    """CPUs take pieces that stay in the cache, on operands with axes [..., tokens, channels]."""
    if _has_own_gradient(operands, scale):
        return _plain_attention(**operands)
    return _leading_axes_first(operands, scale, SCORES_AT_ONCE)


def on_accelerators(operands: dict[str, Array], scale: float) -> Array:
    """Accelerators take all heads at a time, to keep their many cores busy."""
    return _queries_in_blocks(operands, scale, SCORES_AT_ONCE_ELSEWHERE)


def _scores(operands: dict[str, Array]) -> int:
    return math.prod(operands["query"].shape[:-1]) * operands["key"].shape[-2]


def _has_own_gradient(operands: dict[str, Array], scale: float) -> bool:
    queries, keys = operands["query"].shape[-2], operands["key"].shape[-2]
    return len(operands) == 3 and scale == 1 and queries * keys >= OWN_GRADIENT_FROM_SCORES


def _softmax_average(operands: dict[str, Array], scale: float) -> Array:
    """The attention itself, on operands with axes [..., queries or keys, channels]."""
    query, key, value = operands["query"], operands["key"], operands["value"]
    dtype = accumulation_dtype(query)
    scores = jnp.einsum("...qd,...kd->...qk", query, key, preferred_element_type=dtype)
    if scale != 1:
        scores = scores * scale
    if "bias" in operands:
        scores = scores + operands["bias"]
    if "rel_h" in operands:
        relative = operands["rel_h"][..., :, None] + operands["rel_w"][..., None, :]
        scores = scores + relative.reshape(scores.shape)
    mask = operands.get("mask")
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(dtype).min)
    highest = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    weights = jnp.exp(scores - highest)
    if mask is not None:
        weights = jnp.where(mask, weights, 0)
    total = weights.sum(axis=-1, keepdims=True)
    # Divided afterwards: [q, e] quotients instead of [q, k].
    average = jnp.einsum(
        "...qk,...ke->...qe", weights.astype(value.dtype), value, preferred_element_type=dtype
    )
    if mask is not None:
        total = jnp.where(total == 0, 1, total)
    return (average / total).astype(value.dtype)


def _leading_axes_first(operands: dict[str, Array], scale: float, limit: int) -> Array:
    """Cuts batch and head axes, then queries, until a piece has at most `limit` scores."""
    query, key = operands["query"], operands["key"]
    leading = query.shape[:-2]
    if _scores(operands) <= limit:
        return _softmax_average(operands, scale)
    if not leading:
        return _queries_in_blocks(operands, scale, limit)
    each = math.prod(leading[1:]) * query.shape[-2] * key.shape[-2]
    # Operands shared along the axis are not copied.
    mapped = {name: array for name, array in operands.items() if array.shape[0] == leading[0]}
    shared = {name: array[0] for name, array in operands.items() if name not in mapped}
    if leading[0] == 1:
        only = {name: array[0] for name, array in operands.items()}
        return _leading_axes_first(only, scale, limit)[None]
    if 2 * each <= limit:
        return _in_groups(mapped, shared, scale, limit // each)
    return jax.lax.map(lambda one: _leading_axes_first({**shared, **one}, scale, limit), mapped)


def _in_groups(
    mapped: dict[str, Array], shared: dict[str, Array], scale: float, most: int
) -> Array:
    """Several entries of the leading axis at a time, in groups of one size; the last is padded."""
    count = len(mapped["query"])
    groups = math.ceil(count / most)
    size = math.ceil(count / groups)

    def split(array: Array) -> Array:
        padding = [(0, groups * size - count)] + [(0, 0)] * (array.ndim - 1)
        return jnp.pad(array, padding).reshape(groups, size, *array.shape[1:])

    shared = {name: array[None] for name, array in shared.items()}
    result = jax.lax.map(
        lambda group: _softmax_average({**shared, **group}, scale),
        {name: split(array) for name, array in mapped.items()},
    )
    return result.reshape(groups * size, *result.shape[2:])[:count]


def _queries_in_blocks(operands: dict[str, Array], scale: float, limit: int) -> Array:
    """Blocks of queries (axis -2) one after another, all of one size; the last is padded."""
    query, keys = operands["query"], operands["key"].shape[-2]
    queries = query.shape[-2]
    each = math.prod(query.shape[:-2]) * keys
    blocks = _block_count(queries, each, limit)
    if blocks == 1:
        return _softmax_average(operands, scale)
    per_query = {"query", "rel_h", "rel_w"} | {
        name for name in ("bias", "mask") if name in operands and operands[name].shape[-2] > 1
    }
    mapped = {name: _split(array, blocks) for name, array in operands.items() if name in per_query}
    shared = {name: array for name, array in operands.items() if name not in per_query}

    def block(one_block: dict[str, Array]) -> Array:
        return _softmax_average({**shared, **one_block}, scale)

    if queries * keys >= RECOMPUTED_FROM_SCORES:
        block = jax.checkpoint(block)
    result = jnp.moveaxis(jax.lax.map(block, mapped), 0, -3)
    return result.reshape(*result.shape[:-3], -1, result.shape[-1])[..., :queries, :]


def _block_count(queries: int, scores_of_each: int, limit: int) -> int:
    return min(queries, math.ceil(queries * scores_of_each / limit))


def _split(array: Array, blocks: int) -> Array:
    """[..., queries, channels] as [blocks, ..., size, channels], the last block padded."""
    *leading, queries, channels = array.shape
    size = math.ceil(queries / blocks)
    padding = [(0, 0)] * len(leading) + [(0, blocks * size - queries), (0, 0)]
    return jnp.moveaxis(jnp.pad(array, padding).reshape(*leading, blocks, size, channels), -3, 0)


@jax.custom_vjp
def _plain_attention(query: Array, key: Array, value: Array) -> Array:
    """Without bias, mask and scale on a CPU, with a backward pass that fits its products.

    Automatic differentiation transposes [q, k] arrays for the gradients of keys and values, which
    takes longer than the products themselves.
    """
    operands = {"query": query, "key": key, "value": value}
    return _leading_axes_first(operands, 1.0, SCORES_AT_ONCE)


def _plain_forward(query: Array, key: Array, value: Array) -> tuple[Array, tuple[Array, ...]]:
    result = _plain_attention(query, key, value)
    return result, (query, key, value, result)


def _plain_backward(saved: tuple[Array, ...], gradient: Array) -> tuple[Array, Array, Array]:
    queries, keys = saved[0].shape[-2], saved[1].shape[-2]
    count = _block_count(queries, keys, GRADIENT_SCORES_AT_ONCE)

    def one_head(operands: tuple[Array, ...]) -> tuple[Array, Array, Array]:
        dtype = accumulation_dtype(*operands)
        query, key, value, result, gradient = (array.astype(dtype) for array in operands)

        def add_block(totals, block):
            query, result, gradient = block
            scores = query @ key.T
            weights = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
            # The softmax's denominator divides [q, e] instead of [q, k]. Padded queries add
            # nothing: their gradient is 0.
            gradient = gradient / weights.sum(axis=-1, keepdims=True)
            along = jnp.sum(gradient * result, axis=-1, keepdims=True)
            by_score = weights * (gradient @ value.T - along)
            by_key, by_value = totals
            # Channels first: the other order would transpose [q, k].
            totals = (by_key + query.T @ by_score, by_value + gradient.T @ weights)
            return totals, by_score @ key

        zeros = jnp.zeros_like(key.T), jnp.zeros_like(value.T)
        blocks = tuple(_split(array, count) for array in (query, result, gradient))
        (by_key, by_value), by_query = jax.lax.scan(add_block, zeros, blocks)
        return by_query.reshape(-1, query.shape[-1])[:queries], by_key, by_value

    def heads(array: Array) -> Array:
        return array.reshape(-1, *array.shape[-2:])

    def like(found: Array, operand: Array) -> Array:
        return found.reshape(operand.shape).astype(operand.dtype)

    found = jax.lax.map(one_head, tuple(heads(array) for array in (*saved, gradient)))
    by_query, by_key, by_value = found
    by_key, by_value = jnp.swapaxes(by_key, 1, 2), jnp.swapaxes(by_value, 1, 2)
    return like(by_query, saved[0]), like(by_key, saved[1]), like(by_value, saved[2])


_plain_attention.defvjp(_plain_forward, _plain_backward)
