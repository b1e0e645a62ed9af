"""Weights of other layouts for SAM; the names of Meta's checkpoints are our own."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from zsas_jax.convert.described import (
    from_transformers,
    model_type,
    preprocessor,
    reading_shapes,
    stated_pixels,
)
from zsas_jax.convert.files import Folder, Weights
from zsas_jax.convert.rules import Rule, apply_rename, convert, count_numbered
from zsas_jax.convert.tensors import StateDict, read
from zsas_jax.errors import WeightConversionError
from zsas_jax.networks.base import Layout
from zsas_jax.networks.sam.config import SamConfig
from zsas_jax.networks.sam.model import Sam

SHARED_MATRIX = "shared_image_embedding.positional_embedding"
SHARED_MATRIX_COPY = "prompt_encoder.shared_embedding.positional_embedding"

TRANSFORMERS_IGNORED = {
    SHARED_MATRIX_COPY.replace(".", r"\."): f"tied to {SHARED_MATRIX}, checked to be equal",
}


def convert_transformers(
    state_dict: StateDict, config: SamConfig, *, param_dtype=jnp.float32
) -> Sam:
    """Builds a SAM from the state dict of transformers' `SamModel`.

    Raises:
        WeightConversionError: names all that is missing, unexpected or mis-shaped, or says that
            the two copies of the Gaussian matrix differ.
    """
    require_equal_copies(state_dict)
    target = nnx.eval_shape(lambda: Sam(config, param_dtype=param_dtype, rngs=nnx.Rngs(0)))
    return convert(target, state_dict, transformers_rules(config), TRANSFORMERS_IGNORED)


def require_equal_copies(state_dict: StateDict) -> None:
    """Transformers stores the Gaussian matrix twice.

    Raises:
        WeightConversionError: the copies differ.
    """
    matrix, copy = state_dict.get(SHARED_MATRIX), state_dict.get(SHARED_MATRIX_COPY)
    if matrix is not None and copy is not None and not np.array_equal(read(matrix), read(copy)):
        raise WeightConversionError(
            f"{SHARED_MATRIX_COPY} differs from {SHARED_MATRIX}: expected two equal copies"
        )


def transformers_rules(config: SamConfig) -> list[Rule]:
    """The rules that lead from Meta's names to those of transformers' `SamModel`."""
    numbered = {
        "image_encoder.neck.0": "vision_encoder.neck.conv1",
        "image_encoder.neck.1": "vision_encoder.neck.layer_norm1",
        "image_encoder.neck.2": "vision_encoder.neck.conv2",
        "image_encoder.neck.3": "vision_encoder.neck.layer_norm2",
        "image_encoder.patch_embed.proj": "vision_encoder.patch_embed.projection",
        "prompt_encoder.mask_downscaling.0": "prompt_encoder.mask_embed.conv1",
        "prompt_encoder.mask_downscaling.1": "prompt_encoder.mask_embed.layer_norm1",
        "prompt_encoder.mask_downscaling.3": "prompt_encoder.mask_embed.conv2",
        "prompt_encoder.mask_downscaling.4": "prompt_encoder.mask_embed.layer_norm2",
        "prompt_encoder.mask_downscaling.6": "prompt_encoder.mask_embed.conv3",
        "mask_decoder.output_upscaling.0": "mask_decoder.upscale_conv1",
        "mask_decoder.output_upscaling.1": "mask_decoder.upscale_layer_norm",
        "mask_decoder.output_upscaling.3": "mask_decoder.upscale_conv2",
    }
    rules = [Rule(rf"^{_escaped(name)}\.", f"{theirs}.") for name, theirs in numbered.items()]
    rules += [
        Rule(r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", SHARED_MATRIX),
        Rule(r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
        Rule(r"^image_encoder\.blocks\.(\d+)\.norm", r"vision_encoder.layers.\1.layer_norm"),
        Rule(r"^image_encoder\.blocks\.", "vision_encoder.layers."),
        Rule(r"^image_encoder\.pos_embed$", "vision_encoder.pos_embed"),
        Rule(r"^(mask_decoder\.transformer\.layers\.\d+)\.norm", r"\1.layer_norm"),
        Rule(r"^mask_decoder\.transformer\.norm_", "mask_decoder.transformer.layer_norm_"),
    ]
    rules += _head_rules(r"mask_decoder\.output_hypernetworks_mlps\.\d+", 3)
    rules += _head_rules(r"mask_decoder\.iou_prediction_head", config.iou_head_depth)
    return rules


def _head_rules(head: str, depth: int) -> list[Rule]:
    """An MLP head's layers are proj_in, layers.0, layers.1, ..., proj_out in transformers."""
    theirs = ["proj_in", *(f"layers.{index}" for index in range(depth - 2)), "proj_out"]
    return [
        Rule(rf"^({head})\.layers\.{index}\.", rf"\1.{name}.") for index, name in enumerate(theirs)
    ]


def _escaped(name: str) -> str:
    return name.replace(".", r"\.")


def config_from_shapes(shapes: Mapping[str, Sequence[int]], *, transformers: bool) -> SamConfig:
    """The sizes of a SAM whose weights have these shapes, under transformers' or Meta's names.

    The decoder's 8 heads alone cannot be told from shapes. A block is global where its relative
    positions span the whole grid.

    Raises:
        KeyError: a weight that is needed for this is missing.
        ConfigError: the shapes make no sense together.
    """
    rules = transformers_rules(SamConfig()) if transformers else []

    def shape(native: str) -> Sequence[int]:
        return shapes[apply_rename(native, rules).names[0]]

    def count(native: str) -> int:
        return count_numbered(shapes, apply_rename(native, rules).names[0])

    width, _, _, patch_size = shape("image_encoder.patch_embed.proj.weight")
    grid = shape("image_encoder.pos_embed")[1]
    depth = count("image_encoder.blocks.0.norm1.bias")
    rows = [shape(f"image_encoder.blocks.{index}.attn.rel_pos_h") for index in range(depth)]
    reach = [(length + 1) // 2 for length, _ in rows]
    out_chans = shape("image_encoder.neck.0.weight")[0]
    head = "mask_decoder.iou_prediction_head."
    head_layers = count_numbered(shapes, head + "layers.0.bias")
    inner = shape("mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight")[0]
    return SamConfig(
        image_size=grid * patch_size,
        patch_size=patch_size,
        width=width,
        depth=depth,
        heads=width // rows[0][1],
        mlp_ratio=shape("image_encoder.blocks.0.mlp.lin1.weight")[0] / width,
        global_attn_indexes=tuple(index for index in range(depth) if reach[index] == grid),
        window_size=min(reach),
        out_chans=out_chans,
        mask_channels=shape("prompt_encoder.mask_downscaling.3.weight")[0],
        decoder_depth=count("mask_decoder.transformer.layers.0.norm1.bias"),
        decoder_mlp_dim=shape("mask_decoder.transformer.layers.0.mlp.lin1.weight")[0],
        decoder_downsample=out_chans // math.gcd(inner, out_chans),
        num_multimask_outputs=shape("mask_decoder.mask_tokens.weight")[0] - 1,
        # transformers numbers the layers between its proj_in and proj_out.
        iou_head_depth=head_layers + (2 if transformers else 0),
        iou_head_hidden=shapes[head + ("proj_in.bias" if transformers else "layers.0.bias")][0],
    )


def _read_transformers(weights: Weights, folder: Folder, options: Mapping[str, Any]) -> SamConfig:
    """The config of weights in transformers' layout: config.json's, or else what shapes tell."""
    del options
    config = from_transformers(weights, folder, "sam", SamConfig.from_transformers_config)
    if config is None:
        with reading_shapes():
            config = config_from_shapes(weights.shapes, transformers=True)
    return _with_pixels(config, folder)


def _read_meta(weights: Weights, folder: Folder, options: Mapping[str, Any]) -> SamConfig:
    del options
    with reading_shapes():
        config = config_from_shapes(weights.shapes, transformers=False)
    return _with_pixels(config, folder) if model_type(folder) == "sam" else config


def _with_pixels(config: SamConfig, folder: Folder) -> SamConfig:
    # SamConfig's mean and std are of pixels in 0..255.
    return dataclasses.replace(config, **stated_pixels(folder, preprocessor(folder), scale=255))


LAYOUTS = (
    Layout(
        "transformers",
        ("vision_encoder.", "shared_image_embedding."),
        transformers_rules,
        _read_transformers,
        TRANSFORMERS_IGNORED,
        require_equal_copies,
    ),
    Layout("meta", ("image_encoder.",), lambda config: (), _read_meta),
)
