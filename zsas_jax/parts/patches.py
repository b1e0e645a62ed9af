"""What CLIP's patch and class tokens say against text."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zsas_jax.networks.clip import Clip


def abnormal_similarity(
    clip: Clip, features: Float[Array, "b n d"], text: Float[Array, "b 2 d"]
) -> Float[Array, "b n"]:
    """Softmax over the cosines with the normal and abnormal text, at CLIP's logit scale.

    Args:
        clip: whose logit scale counts.
        features: in the joint space, of any length.
        text: L2-normalised, normal then abnormal.
    """
    dtype = jnp.promote_types(features.dtype, jnp.float32)
    features = features.astype(dtype)
    squared = jnp.sum(features * features, axis=-1, keepdims=True)
    # Full precision: the logit scale multiplies every error by up to 100.
    highest = jax.lax.Precision.HIGHEST
    cosine = jnp.einsum("bnd,btd->bnt", features, text.astype(dtype), precision=highest)
    cosine = cosine * jax.lax.rsqrt(jnp.maximum(squared, 1e-24))
    scale = jnp.exp(clip.logit_scale[...].astype(dtype))
    return jax.nn.softmax(scale * cosine, axis=-1)[..., 1]
