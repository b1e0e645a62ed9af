"""A network with one of each layer, and its weights as PyTorch stores them."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from zsas_jax.convert.rules import Rule
from zsas_jax.ops.layers import Buffer, LayerNorm


class Network(nnx.Module):
    """One of each layer, with square kernels so that no shape betrays a wrong layout."""

    def __init__(self, *, rngs, param_dtype=jnp.float32):
        options = {"rngs": rngs, "param_dtype": param_dtype}
        self.stem = nnx.Conv(4, 4, (4, 4), padding="VALID", **options)
        self.up = nnx.ConvTranspose(4, 4, (4, 4), strides=(4, 4), padding="VALID", **options)
        self.up_flipping = nnx.ConvTranspose(
            4, 4, (4, 4), strides=(4, 4), padding="VALID", transpose_kernel=True, **options
        )
        self.blocks = nnx.List([nnx.Linear(4, 4, **options), LayerNorm(4, eps=1e-5, **options)])
        self.fused = nnx.Linear(4, 12, **options)
        self.words = nnx.Embed(4, 4, **options)
        self.proj = nnx.Param(jnp.zeros((4, 4), param_dtype))
        self.fixed = Buffer(jnp.zeros((4, 4), param_dtype))


RULES = (
    Rule(r"^blocks\.(\d+)\.", r"layers.\1."),
    Rule(r"^fused\.", ("q.", "k.", "v.")),
    Rule(r"^proj$", "projection.weight", transpose=True),
)
IGNORED = {r"num_batches.*": "counts nothing that inference needs"}


def target(**options):
    return nnx.eval_shape(lambda: Network(rngs=nnx.Rngs(0), **options))


def source(seed=0):
    random = np.random.default_rng(seed)
    shapes = {
        "stem.weight": (4, 4, 4, 4),
        "stem.bias": (4,),
        "up.weight": (4, 4, 4, 4),
        "up.bias": (4,),
        "up_flipping.weight": (4, 4, 4, 4),
        "up_flipping.bias": (4,),
        "layers.0.weight": (4, 4),
        "layers.0.bias": (4,),
        "layers.1.weight": (4,),
        "layers.1.bias": (4,),
        **{f"{part}.weight": (4, 4) for part in "qkv"},
        **{f"{part}.bias": (4,) for part in "qkv"},
        "words.weight": (4, 4),
        "projection.weight": (4, 4),
        "fixed": (4, 4),
    }
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
