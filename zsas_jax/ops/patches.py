"""Patch embeddings of CLIP and SAM."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class PatchConv(nnx.Conv):
    """A convolution whose stride is its kernel, as one matrix product over patches.

    The same function as `nnx.Conv`; small kernels take half the time on CPUs, gradient included.
    """

    def __call__(self, inputs: Float[Array, "*n h w c"]) -> Float[Array, "*n h2 w2 d"]:
        rows, columns, channels, features = self.kernel.shape
        *batch, height, width, _ = inputs.shape
        patches = inputs.reshape(*batch, height // rows, rows, width // columns, columns, channels)
        patches = jnp.moveaxis(patches, -4, -3)
        patches = patches.reshape(*patches.shape[:-3], rows * columns * channels)
        outputs = patches @ self.kernel[...].reshape(-1, features)
        return outputs if self.bias is None else outputs + self.bias[...]
