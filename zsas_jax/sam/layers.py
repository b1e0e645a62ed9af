"""Small layers that only SAM needs."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from zsas_jax.ops.layers import gelu


class Gelu(nnx.Module):
    """Exact GELU as a layer, so that lists of layers are numbered as in Meta's `nn.Sequential`."""

    def __call__(self, inputs: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
        return gelu(inputs)


class PatchConv(nnx.Conv):
    """A convolution whose stride is its kernel, as one matrix product over patches.

    The same function as `nnx.Conv`; its gradient is several times faster on CPUs.
    """

    def __call__(self, inputs: Float[Array, "*n h w c"]) -> Float[Array, "*n h2 w2 d"]:
        rows, columns, channels, features = self.kernel.shape
        *batch, height, width, _ = inputs.shape
        patches = inputs.reshape(*batch, height // rows, rows, width // columns, columns, channels)
        patches = jnp.moveaxis(patches, -4, -3)
        patches = patches.reshape(*patches.shape[:-3], rows * columns * channels)
        outputs = patches @ self.kernel[...].reshape(-1, features)
        return outputs if self.bias is None else outputs + self.bias[...]


class UpsampleConv(nnx.ConvTranspose):
    """A transposed convolution whose stride is its kernel, as one matrix product per pixel.

    The same function as `nnx.ConvTranspose`, whose kernel is applied mirrored (unlike PyTorch's).
    """

    def __call__(self, inputs: Float[Array, "*n h w c"]) -> Float[Array, "*n h2 w2 d"]:
        rows, columns, channels, features = self.kernel.shape
        *batch, height, width, _ = inputs.shape
        kernel = jnp.moveaxis(self.kernel[...][::-1, ::-1], 2, 0).reshape(channels, -1)
        outputs = (inputs @ kernel).reshape(*batch, height, width, rows, columns, features)
        outputs = jnp.moveaxis(outputs, -3, -4)
        outputs = outputs.reshape(*batch, height * rows, width * columns, features)
        return outputs if self.bias is None else outputs + self.bias[...]


def linear_resample_matrix(source: int, target: int) -> np.ndarray:
    """The [target, source] float64 matrix of torch's linear resampling, align_corners False.

    Half-pixel centres, no antialiasing; positions before the first sample take its value.
    """
    centres = (np.arange(target) + 0.5) * (source / target) - 0.5
    centres = np.maximum(centres, 0.0)
    low = np.minimum(centres.astype(np.int64), source - 1)
    high = np.minimum(low + 1, source - 1)
    weight = centres - low
    matrix = np.zeros((target, source))
    np.add.at(matrix, (np.arange(target), low), 1.0 - weight)
    np.add.at(matrix, (np.arange(target), high), weight)
    return matrix
