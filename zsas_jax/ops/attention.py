"""Exact attention with PyTorch's semantics, by the form that fits the machine."""

import functools
import math

import jax
from jaxtyping import Array, Bool, Float

from zsas_jax.errors import ConfigError
from zsas_jax.ops import fused_attention
from zsas_jax.ops.blocked_attention import blocked_attention


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
    Large batches and long sequences are computed piece by piece, so that no [q, k] array of all
    heads exists; the result is the same exact softmax. On NVIDIA GPUs a fused kernel of cuDNN
    takes over where it can (see `fused_attention`).

    Raises:
        ConfigError: one of `rel_h` and `rel_w` without the other.
    """
    if (rel_h is None) != (rel_w is None):
        raise ConfigError("attention got one of rel_h and rel_w: expected both or neither")
    if scale is None:
        scale = math.sqrt(1 / query.shape[-1])
    if bias is None and mask is None and fused_attention.is_available(query, key, value, rel_h):

        def blocked(query, key, value, rel_h, rel_w):
            return blocked_attention(query, key, value, scale=scale, rel_h=rel_h, rel_w=rel_w)

        fused = functools.partial(fused_attention.attention, scale=scale, fallback=blocked)
        operands = query, key, value, rel_h, rel_w
        return jax.lax.platform_dependent(*operands, cuda=fused, default=blocked)
    return blocked_attention(
        query, key, value, bias=bias, mask=mask, scale=scale, rel_h=rel_h, rel_w=rel_w
    )
