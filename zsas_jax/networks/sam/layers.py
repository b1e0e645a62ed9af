"""Small layers that only SAM needs."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from zsas_jax.ops.layers import gelu


class Gelu(nnx.Module):
    """Exact GELU as a layer, so that lists of layers are numbered as in Meta's `nn.Sequential`."""

    def __call__(self, inputs: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
        return gelu(inputs)


class UpsampleConv(nnx.ConvTranspose):
    """A transposed convolution whose stride is its kernel, as one matrix product per pixel.

    The same function as `nnx.ConvTranspose`, whose kernel is applied mirrored (unlike PyTorch's);
    on CPUs it takes a tenth of the time, gradient included.
    """

    def __call__(self, inputs: Float[Array, "*n h w c"]) -> Float[Array, "*n h2 w2 d"]:
        rows, columns, channels, features = self.kernel.shape
        *batch, height, width, _ = inputs.shape
        kernel = jnp.moveaxis(self.kernel[...][::-1, ::-1], 2, 0).reshape(channels, -1)
        outputs = (inputs @ kernel).reshape(*batch, height, width, rows, columns, features)
        outputs = jnp.moveaxis(outputs, -3, -4)
        outputs = outputs.reshape(*batch, height * rows, width * columns, features)
        return outputs if self.bias is None else outputs + self.bias[...]
