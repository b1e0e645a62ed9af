"""Starting points from which small transformers learn from few pictures.

Fresh vision transformers need millions of pictures to find out three things that can be given to
them: patches differ by more than their brightness (`whitening_kernel`), neighbours matter
(`sinusoidal_positions`), and a token is compared with those that resemble it
(`mimetic_attention`). They start networks that are trained from nothing; converted weights never
pass through here.
"""

from collections.abc import Sequence

import numpy as np
from flax import nnx
from jaxtyping import Float, UInt8

from zsas_jax.errors import ConfigError
from zsas_jax.networks.clip import Clip, ClipConfig
from zsas_jax.networks.sam import Sam
from zsas_jax.ops.position import resample_positions

WHITENING_EPSILON = 1e-2
ATTENTION_SHARES = (0.7, 0.7)
VALUE_SHARES = (0.4, 0.4)
# Of a fresh SAM's prompts and cross-attentions, see `align_positions`.
POSITION_FREQUENCIES = (0.1, 2.0)  # waves in half a frame
POSITION_GAIN = 1.5
CONTENT_SHARE = 0.3


def initialize_clip(clip: Clip, images: UInt8[np.ndarray, "n h w 3"], seed: int) -> None:
    """Gives a fresh CLIP's image tower this start, for pictures like `images`."""
    rng = np.random.default_rng(seed)
    config, visual = clip.config, clip.visual
    width, grid = config.vision_width, config.grid_size
    mean, std = clip_statistics(config)
    visual.conv1.kernel[...] = whitening_kernel(images, config.patch_size, width, mean, std, rng)
    positions = sinusoidal_positions(grid, width).reshape(-1, width)
    visual.positional_embedding[...] = np.pad(positions, ((1, 0), (0, 0)))
    visual.class_embedding[...] = rng.normal(size=width).astype(np.float32)
    for block in visual.transformer.resblocks:
        kernels = mimetic_attention(width, config.vision_heads, rng)
        block.attn.in_proj.kernel[...], block.attn.out_proj.kernel[...] = kernels


def initialize_image_encoder(sam: Sam, images: UInt8[np.ndarray, "n h w 3"], seed: int) -> None:
    """The same for a fresh SAM's image encoder; `align_positions` is its decoder's start."""
    rng = np.random.default_rng(seed)
    config, encoder = sam.config, sam.image_encoder
    mean, std = config.pixel_mean, config.pixel_std
    kernel = whitening_kernel(images, config.patch_size, config.width, mean, std, rng)
    encoder.patch_embed.proj.kernel[...] = kernel
    encoder.pos_embed[...] = sinusoidal_positions(config.grid_size, config.width)[None]
    for block in encoder.blocks:
        kernels = mimetic_attention(config.width, config.heads, rng)
        block.attn.qkv.kernel[...], block.attn.proj.kernel[...] = kernels


def transfer_image_tower(sam: Sam, clip: Clip, images: UInt8[np.ndarray, "n h w 3"]) -> None:
    """Starts SAM's image encoder from CLIP's image tower, so that it need not learn to see anew.

    The blocks are the same networks. What the encoder lacks is folded into its patch embedding and
    positions: CLIP's pixel statistics exactly, `ln_pre` with the mean deviation of tokens of
    `images` in place of each token's own. There is no class token, and SAM's GELU is the exact one.

    Raises:
        ConfigError: towers of different sizes.
    """
    config, encoder, visual = clip.config, sam.image_encoder, clip.visual
    sizes = {
        "patch size": (sam.config.patch_size, config.patch_size),
        "width": (sam.config.width, config.vision_width),
        "blocks": (sam.config.depth, config.vision_layers),
        "heads": (sam.config.heads, config.vision_heads),
        "MLP ratio": (sam.config.mlp_ratio, config.vision_mlp_ratio),
    }
    for name, (found, expected) in sizes.items():
        if found != expected:
            raise ConfigError(
                f"SAM's image encoder has {name} {found}: expected {expected}, that of the CLIP "
                "whose image tower it starts from"
            )
    kernel, bias = _other_statistics(
        np.asarray(visual.conv1.kernel[...]),
        clip_statistics(config),
        (sam.config.pixel_mean, sam.config.pixel_std),
    )
    stored, grid = visual.positional_embedding[...][1:], sam.config.grid_size
    square = stored.reshape(config.grid_size, config.grid_size, -1)
    positions = np.asarray(resample_positions(square, grid, grid, "bilinear"))
    patches = _random_patches(images, config.patch_size, np.random.default_rng(0))
    pixels = (patches - np.asarray(sam.config.pixel_mean)) / np.asarray(sam.config.pixel_std)
    tokens = pixels.reshape(len(pixels), -1) @ kernel.reshape(-1, config.vision_width) + bias
    tokens += np.asarray(stored)[np.arange(len(tokens)) % len(stored)]
    gain = np.asarray(visual.ln_pre.scale[...]) / tokens.std(axis=-1).mean()

    def normalize(x: np.ndarray) -> np.ndarray:
        return (x - x.mean(axis=-1, keepdims=True)) * gain

    embedding = encoder.patch_embed.proj
    assert embedding.bias is not None
    embedding.kernel[...] = normalize(kernel)
    embedding.bias[...] = normalize(bias) + np.asarray(visual.ln_pre.bias[...])
    encoder.pos_embed[...] = normalize(positions)[None]
    for block, source in zip(encoder.blocks, visual.transformer.resblocks, strict=True):
        pairs = [
            (block.norm1, source.ln_1),
            (block.attn.qkv, source.attn.in_proj),
            (block.attn.proj, source.attn.out_proj),
            (block.norm2, source.ln_2),
            (block.mlp.lin1, source.mlp.c_fc),
            (block.mlp.lin2, source.mlp.c_proj),
        ]
        for new, old in pairs:
            nnx.update(new, nnx.state(old))


def align_positions(sam: Sam, seed: int) -> None:
    """Makes a fresh SAM's prompts see where they are from the first step on.

    Queries and keys of the cross-attentions become equal functions of position, strong enough for
    the softmax, so that a click looks at the image around it; and what else is in the tokens (their
    kind, what they have seen) counts less. The frequencies of positions spread evenly over
    `POSITION_FREQUENCIES` on a logarithmic scale: of a few normally distributed ones, hardly any is
    low enough to tell which side of a box's edge a pixel is on. SAM's own initialisation is not
    published; training would otherwise have to find this.
    """
    encoder, transformer = sam.prompt_encoder, sam.mask_decoder.transformer
    matrix = encoder.pe_layer.positional_encoding_gaussian_matrix
    directions = np.asarray(matrix[...]) / np.linalg.norm(matrix[...], axis=0)
    lowest, highest = np.log(POSITION_FREQUENCIES)
    rng = np.random.default_rng(seed)
    frequencies = np.exp(rng.uniform(lowest, highest, matrix.shape[1]))
    matrix[...] = (directions * frequencies).astype(np.float32)
    kinds = [embedding.embedding for embedding in encoder.point_embeddings]
    seen = [norm.scale for layer in transformer.layers for norm in (layer.norm1, layer.norm3)]
    for weights in (*kinds, *seen):
        weights[...] = CONTENT_SHARE * weights[...]
    for layer in [*transformer.layers, transformer]:
        for name in (
            "cross_attn_token_to_image",
            "cross_attn_image_to_token",
            "final_attn_token_to_image",
        ):
            attention = getattr(layer, name, None)
            if attention is not None:
                kernel = POSITION_GAIN * attention.q_proj.kernel[...]
                attention.q_proj.kernel[...] = kernel
                attention.k_proj.kernel[...] = np.array(kernel)  # Donated buffers must differ.


def whitening_kernel(
    images: UInt8[np.ndarray, "n h w 3"],
    patch: int,
    width: int,
    mean: Sequence[float],
    std: Sequence[float],
    rng: np.random.Generator,
) -> Float[np.ndarray, "p p 3 width"]:
    """A patch embedding whose outputs are uncorrelated on these images, with equal power.

    The strongest `width` principal components of patches (pixels normalised by `mean` and `std`,
    in levels of 0..255), each divided by its deviation, in a random rotation. Natural patches have
    nearly all their power in their mean colour, which drowns texture in a random embedding.
    """
    patches = _random_patches(images, patch, rng)
    values = ((patches - np.asarray(mean)) / np.asarray(std)).reshape(len(patches), -1)
    power, axes = np.linalg.eigh(values.T @ values / len(values))
    power, axes = power[::-1][:width], axes[:, ::-1][:, :width]
    kernel = axes / np.sqrt(np.maximum(power, 0) + WHITENING_EPSILON)
    if kernel.shape[1] < width:
        kernel = np.pad(kernel, ((0, 0), (0, width - kernel.shape[1])))
    rotation, _ = np.linalg.qr(rng.normal(size=(width, width)))
    return (kernel @ rotation).reshape(patch, patch, 3, width).astype(np.float32)


def _random_patches(
    images: UInt8[np.ndarray, "n h w 3"], patch: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "m p p 3"]:
    count, height, side = images.shape[:3]
    picks = rng.integers(0, [count, height - patch + 1, side - patch + 1], (8 * count, 3))
    return np.stack([images[n, y : y + patch, x : x + patch] for n, y, x in picks])


def _other_statistics(
    kernel: Float[np.ndarray, "p p 3 width"],
    old: tuple[Sequence[float], Sequence[float]],
    new: tuple[Sequence[float], Sequence[float]],
) -> tuple[Float[np.ndarray, "p p 3 width"], Float[np.ndarray, " width"]]:
    """Kernel and bias that give for pixels normalised by `new` what `kernel` gives for `old`."""
    (old_mean, old_std), (new_mean, new_std) = (
        (np.asarray(x) for x in pair) for pair in (old, new)
    )
    bias = (((new_mean - old_mean) / old_std)[:, None] * kernel).sum((0, 1, 2))
    return kernel * (new_std / old_std)[:, None], bias


def sinusoidal_positions(
    grid: int, width: int, amplitude: float = 0.7
) -> Float[np.ndarray, "g g width"]:
    """Sines and cosines of row and column in geometric frequencies (Vaswani et al. 2017), 2-D."""
    frequencies = 1e4 ** -(np.arange(width // 4) / (width // 4))
    angles = np.arange(grid)[:, None] * frequencies
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    rows = np.broadcast_to(waves[:, None], (grid, grid, waves.shape[1]))
    positions = np.concatenate([rows, rows.swapaxes(0, 1)], axis=-1)
    spare = width - positions.shape[-1]
    return (amplitude * np.pad(positions, ((0, 0), (0, 0), (0, spare)))).astype(np.float32)


def mimetic_attention(
    width: int, heads: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "width 3*width"], Float[np.ndarray, "width width"]]:
    """Query-key-value and output kernels [in, out] (Trockman and Kolter 2023, section 4).

    Query times key is near the identity, so that a token attends to those like it; value times
    output is near minus the identity, so that it keeps what it does not share with them.
    """

    def near_identity(shares: tuple[float, float], sign: float):
        noise = rng.normal(size=(width, width)) / np.sqrt(width)
        left, scale, right = np.linalg.svd(shares[0] * noise + sign * shares[1] * np.eye(width))
        root = np.sqrt(scale)
        return left * root, root[:, None] * right

    size = width // heads
    pairs = [near_identity(ATTENTION_SHARES, 1.0) for _ in range(heads)]
    queries = [query[:, :size] for query, _ in pairs]
    keys = [key.T[:, :size] for _, key in pairs]
    value, output = near_identity(VALUE_SHARES, -1.0)
    kernel = np.concatenate([*queries, *keys, value], axis=1)
    return kernel.astype(np.float32), output.astype(np.float32)


def clip_statistics(config: ClipConfig) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """CLIP's mean and standard deviation, stated for [0, 1], in levels of 0..255."""
    return (
        tuple(255 * value for value in config.pixel_mean),
        tuple(255 * value for value in config.pixel_std),
    )
