"""UMCI: Unified Multi-scale Cross-modal Interaction (ClipSAM, Eqs. 1 to 6, Algorithms 1 and 2).

What the paper leaves open is decided as follows:
- M_row,col and M_g1,g2 have c_h channels, M_all has C_t, so that it adds to the projected tokens;
- conv1x3 and conv3x1 have three taps along the axis that remains after pooling;
- the GRU cell's input is the attended visual feature, its hidden state the text feature t1;
- Norm is L2 over channels; pooling has stride = kernel, edge windows average valid patches only;
- the head is Linear, ReLU, Linear; a softmax over its two channels makes probabilities, and the
  stages are averaged as probabilities.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from zsas_jax.errors import ConfigError
from zsas_jax.networks.umci.config import UmciConfig
from zsas_jax.ops.layers import Linear, accumulation_dtype, unit
from zsas_jax.ops.position import interpolate


def attention(
    query: Float[Array, "b q c"], key: Float[Array, "b k c"], value: Float[Array, "b k c"]
) -> Float[Array, "b q c"]:
    """Scaled dot-product attention without projections (ClipSAM, Eq. 13); softmax in float32."""
    dtype = accumulation_dtype(query, key)
    scores = jnp.einsum("bqc,bkc->bqk", query, key, preferred_element_type=dtype)
    scores = scores / query.shape[-1] ** 0.5
    return jnp.einsum("bqk,bkc->bqc", jax.nn.softmax(scores, axis=-1).astype(value.dtype), value)


def average_pool(x: Float[Array, "b h w c"], kernel: int) -> Float[Array, "b i j c"]:
    """Square average pooling with stride = kernel; edge windows average their valid part."""
    b, h, w, c = x.shape
    rows, columns = -(-h // kernel), -(-w // kernel)
    x = jnp.pad(x, ((0, 0), (0, rows * kernel - h), (0, columns * kernel - w), (0, 0)))
    total = x.reshape(b, rows, kernel, columns, kernel, c).sum(axis=(2, 4))
    height = np.minimum(kernel, h - kernel * np.arange(rows))
    width = np.minimum(kernel, w - kernel * np.arange(columns))
    count = (height[:, None] * width)[..., None]
    return total / jnp.asarray(count, x.dtype)


class GRUCell(nnx.Module):
    """One step of a gated recurrent unit as torch writes it.

    torch has a bias on the hidden side too (inside the reset gate's product), which flax's own
    cell lacks. Gates are stacked in torch's order: reset, update, new.
    """

    def __init__(self, features: int, *, rngs: nnx.Rngs, param_dtype=jnp.float32):
        self.input = Linear(features, 3 * features, rngs=rngs, param_dtype=param_dtype)
        self.hidden = Linear(features, 3 * features, rngs=rngs, param_dtype=param_dtype)

    def __call__(
        self, x: Float[Array, "*b c"], state: Float[Array, "*b c"]
    ) -> Float[Array, "*b c"]:
        x_reset, x_update, x_new = jnp.split(self.input(x), 3, axis=-1)
        h_reset, h_update, h_new = jnp.split(self.hidden(state), 3, axis=-1)
        update = jax.nn.sigmoid(x_update + h_update)
        new = jnp.tanh(x_new + jax.nn.sigmoid(x_reset + h_reset) * h_new)
        return (1 - update) * new + update * state


def _conv(inputs: int, outputs: int, kernel: tuple[int, ...], rngs: nnx.Rngs, dtype) -> nnx.Conv:
    return nnx.Conv(inputs, outputs, kernel, padding="SAME", rngs=rngs, param_dtype=dtype)


class StripBranch(nnx.Module):
    """One direction of the strip path (Algorithm 1, lines 2 to 4): rows or columns."""

    def __init__(self, text_dim: int, hidden: int, *, rngs: nnx.Rngs, param_dtype=jnp.float32):
        self.conv = _conv(text_dim, hidden, (3,), rngs, param_dtype)
        self.text1 = Linear(text_dim, hidden, rngs=rngs, param_dtype=param_dtype)
        self.text2 = Linear(text_dim, hidden, rngs=rngs, param_dtype=param_dtype)
        self.gru = GRUCell(hidden, rngs=rngs, param_dtype=param_dtype)

    def __call__(
        self, strip: Float[Array, "b n t"], text: Float[Array, "b 2 t"]
    ) -> Float[Array, "b n c"]:
        visual = self.conv(strip)
        text1 = self.text1(text)
        text_new = self.gru(attention(text1, visual, visual), text1)
        return unit(attention(visual, text_new, self.text2(text)) + visual)


class StripPath(nnx.Module):
    """Row and column features that locate the anomaly (Algorithm 1, Eqs. 1 and 2)."""

    def __init__(self, text_dim: int, hidden: int, *, rngs: nnx.Rngs, param_dtype=jnp.float32):
        self.row = StripBranch(text_dim, hidden, rngs=rngs, param_dtype=param_dtype)
        self.col = StripBranch(text_dim, hidden, rngs=rngs, param_dtype=param_dtype)
        self.conv = _conv(hidden, hidden, (3, 3), rngs, param_dtype)

    def __call__(
        self, patches: Float[Array, "b h w t"], text: Float[Array, "b 2 t"]
    ) -> Float[Array, "b h w c"]:
        rows = self.row(patches.mean(axis=2), text)
        columns = self.col(patches.mean(axis=1), text)
        # Bilinear interpolation of a map one patch wide is a broadcast.
        return self.conv(rows[:, :, None] + columns[:, None])


class ScaleBranch(nnx.Module):
    """One pooling scale of the scale path (Algorithm 2, lines 2 to 4)."""

    def __init__(
        self, text_dim: int, hidden: int, kernel: int, *, rngs: nnx.Rngs, param_dtype=jnp.float32
    ):
        self.kernel = kernel
        self.conv = _conv(text_dim, hidden, (3, 3), rngs, param_dtype)
        self.text_key = Linear(text_dim, hidden, rngs=rngs, param_dtype=param_dtype)
        self.text_value = Linear(text_dim, hidden, rngs=rngs, param_dtype=param_dtype)

    def __call__(
        self, patches: Float[Array, "b h w t"], text: Float[Array, "b 2 t"]
    ) -> Float[Array, "b i j c"]:
        visual = self.conv(average_pool(patches, self.kernel))
        queries = visual.reshape(visual.shape[0], -1, visual.shape[-1])
        attended = attention(queries, self.text_key(text), self.text_value(text))
        return unit(attended + queries).reshape(visual.shape)


class ScalePath(nnx.Module):
    """Pooled features at several scales that say what is anomalous (Algorithm 2, Eqs. 3 and 4)."""

    def __init__(
        self,
        text_dim: int,
        hidden: int,
        kernels: Sequence[int],
        *,
        rngs: nnx.Rngs,
        param_dtype=jnp.float32,
    ):
        self.scales = nnx.List(
            ScaleBranch(text_dim, hidden, kernel, rngs=rngs, param_dtype=param_dtype)
            for kernel in kernels
        )
        self.conv = _conv(hidden, hidden, (3, 3), rngs, param_dtype)

    def __call__(
        self, patches: Float[Array, "b h w t"], text: Float[Array, "b 2 t"]
    ) -> Float[Array, "b h w c"]:
        grid = (patches.shape[1], patches.shape[2])
        maps = [interpolate(scale(patches, text), grid) for scale in self.scales]
        return self.conv(jnp.sum(jnp.stack(maps), axis=0))


class UmciStage(nnx.Module):
    """The UMCI module of one CLIP stage: projection, two paths, fusion, head (Eqs. 5 and 6)."""

    def __init__(self, config: UmciConfig, *, rngs: nnx.Rngs, param_dtype=jnp.float32):
        text_dim, hidden = config.text_dim, config.hidden_dim
        options = {"rngs": rngs, "param_dtype": param_dtype}
        self.proj = Linear(config.width, text_dim, **options)
        self.strip = StripPath(text_dim, hidden, **options) if config.use_strip else None
        self.scale = (
            ScalePath(text_dim, hidden, config.scale_kernels, **options)
            if config.use_scale
            else None
        )
        self.conv_ori = _conv(text_dim, hidden, (3, 3), rngs, param_dtype)
        self.conv_all = _conv(
            (1 + config.use_strip + config.use_scale) * hidden, text_dim, (3, 3), rngs, param_dtype
        )
        self.head1 = Linear(text_dim, hidden, **options)
        self.head2 = Linear(hidden, 2, **options)

    def __call__(
        self, tokens: Float[Array, "b h w d"], text: Float[Array, "b 2 t"]
    ) -> Float[Array, "b h w 2"]:
        patches = self.proj(tokens)
        paths = [path(patches, text) for path in (self.strip, self.scale) if path is not None]
        fused = self.conv_all(jnp.concatenate([self.conv_ori(patches), *paths], axis=-1))
        return self.head2(jax.nn.relu(self.head1(jax.nn.relu(fused + patches))))


class Umci(nnx.Module):
    """One independent UMCI stage per chosen CLIP block."""

    def __init__(self, config: UmciConfig, *, rngs: nnx.Rngs, param_dtype=jnp.float32):
        self.config = config
        self.stages = nnx.List(
            UmciStage(config, rngs=rngs, param_dtype=param_dtype) for _ in config.layers
        )

    def __call__(
        self,
        patch_tokens: Sequence[Float[Array, "b n d"]],
        grid: tuple[int, int],
        text: Float[Array, "b 2 t"],
        last: int = 0,
    ) -> Float[Array, "b s gh gw 2"]:
        """Logits of the stages on the patch grid; channel 0 is normal, 1 abnormal.

        Args:
            patch_tokens: raw CLIP block outputs of the stages' layers, without the class token.
            grid: static (rows, columns) of the patches, rows * columns = n.
            text: L2-normalised text features of each image's category, normal then abnormal.
            last: run this many stages, those of the last of `config.layers`; 0 runs all.

        Raises:
            ConfigError: another number of token maps than of stages.
        """
        stages = list(self.stages)[-last:]
        if len(patch_tokens) != len(stages):
            raise ConfigError(
                f"UMCI got {len(patch_tokens)} token maps: expected one for each of "
                f"{len(stages)} stages"
            )
        dtype = self.stages[0].conv_ori.kernel.dtype
        text = text.astype(dtype)
        logits = [
            stage(tokens.astype(dtype).reshape(tokens.shape[0], *grid, tokens.shape[-1]), text)
            for stage, tokens in zip(stages, patch_tokens, strict=True)
        ]
        return jnp.stack(logits, axis=1)


def anomaly_probability(
    umci: Umci,
    patch_tokens: Sequence[Float[Array, "b n d"]],
    grid: tuple[int, int],
    text: Float[Array, "b 2 t"],
    last: int = 0,
) -> Float[Array, "b gh gw"]:
    """The rough anomaly map on the patch grid: abnormal probability, mean over the stages.

    Arguments as of `Umci`.
    """
    logits = umci(patch_tokens, grid, text, last)
    return jax.nn.softmax(logits.astype(accumulation_dtype(logits)), axis=-1)[..., 1].mean(axis=1)
