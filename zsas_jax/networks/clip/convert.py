"""Weights of CLIP in the layouts in which they are published, and the sizes that their shapes tell.

- transformers' `CLIPModel`;
- OpenAI's own, which is open_clip's too: our names, but for `attn.in_proj_weight` and `_bias`;
- open_clip's with a text tower of its own (`text.` before the names of that tower).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from zsas_jax.convert.described import from_transformers, reading_shapes
from zsas_jax.convert.files import Folder, Weights
from zsas_jax.convert.rules import Rule, apply_rename, convert, count_numbered
from zsas_jax.convert.tensors import StateDict
from zsas_jax.errors import ConfigError, WeightConversionError
from zsas_jax.networks.base import Layout
from zsas_jax.networks.clip.config import ACTIVATIONS, PRESETS, ClipConfig
from zsas_jax.networks.clip.described import (
    check_described,
    described_activation,
    described_heads,
    described_pixels,
)
from zsas_jax.networks.clip.model import Clip

TORCHSCRIPT = "TorchScript archive"  # of OpenAI's models alone

# In order. The shared `transformer.resblocks` is told apart by its prefix `visual.`.
TRANSFORMERS_RULES = (
    Rule(r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
    Rule(r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
    Rule(r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
    # transformers spells it so.
    Rule(r"^visual\.ln_pre\.", "vision_model.pre_layrnorm."),
    Rule(r"^visual\.ln_post\.", "vision_model.post_layernorm."),
    Rule(r"^visual\.proj$", "visual_projection.weight", transpose=True),
    Rule(r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
    Rule(r"^token_embedding\.", "text_model.embeddings.token_embedding."),
    Rule(r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
    Rule(r"^ln_final\.", "text_model.final_layer_norm."),
    Rule(r"^text_projection$", "text_projection.weight", transpose=True),
    Rule(r"^transformer\.resblocks\.", "text_model.encoder.layers."),
    # Inside a block. Query, key and value are one projection here, three there.
    Rule(r"(\.layers\.\d+)\.ln_([12])\.", r"\1.layer_norm\2."),
    Rule(
        r"\.attn\.in_proj\.",
        (r".self_attn.q_proj.", r".self_attn.k_proj.", r".self_attn.v_proj."),
    ),
    Rule(r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    Rule(r"\.mlp\.c_fc\.", ".mlp.fc1."),
    Rule(r"\.mlp\.c_proj\.", ".mlp.fc2."),
)

TRANSFORMERS_IGNORED = {
    r"(text|vision)_model\.embeddings\.position_ids": "0, 1, 2, ...: saved by old versions only",
}


OPENAI_RULES = (Rule(r"\.attn\.in_proj\.", ".attn.in_proj_"),)

OPENAI_IGNORED = {
    r"(input_resolution|context_length|vocab_size)": "sizes, which the shapes tell as well",
    r"(.*\.)?attn_mask": "the causal mask, which is computed",
}

CUSTOM_TEXT_RULES = (
    *OPENAI_RULES,
    Rule(
        r"^(transformer\.|token_embedding\.|positional_embedding$|ln_final\.|text_projection$)",
        r"text.\1",
    ),
)


def convert_transformers(
    state_dict: StateDict, config: ClipConfig, *, param_dtype=jnp.float32
) -> Clip:
    """Builds a Clip from the state dict of transformers' CLIPModel, as NumPy arrays.

    `config` usually comes from `ClipConfig.from_transformers_config`.

    Raises:
        WeightConversionError: any name, shape or value that does not fit, all in one message.
    """
    abstract = nnx.eval_shape(lambda: Clip(config, rngs=nnx.Rngs(0), param_dtype=param_dtype))
    return convert(abstract, state_dict, TRANSFORMERS_RULES, TRANSFORMERS_IGNORED)


def config_from_shapes(shapes: Mapping[str, Sequence[int]], rules: Sequence[Rule]) -> ClipConfig:
    """The sizes of a CLIP whose weights have these shapes under the names that `rules` lead to.

    Shapes tell neither the heads, here one for each tower, nor the activation: see `with_heads` and
    `published_activation`.

    Raises:
        KeyError: a weight that is needed for this is missing.
        ConfigError: the shapes make no sense together.
    """

    def shape(native: str) -> Sequence[int]:
        return shapes[apply_rename(native, rules).names[0]]

    def layers(prefix: str) -> int:
        first = apply_rename(f"{prefix}transformer.resblocks.0.ln_1.bias", rules).names[0]
        return count_numbered(shapes, first)

    def width_of_mlp(prefix: str) -> int:
        return shape(f"{prefix}transformer.resblocks.0.mlp.c_fc.bias")[0]

    positions = shape("visual.positional_embedding")[0]
    patch_size = shape("visual.conv1.weight")[-1]
    vision_width = shape("visual.class_embedding")[0]
    vocab_size, text_width = shape("token_embedding.weight")
    projection = apply_rename("visual.proj", rules)
    return ClipConfig(
        image_size=patch_size * math.isqrt(positions - 1),
        patch_size=patch_size,
        vision_width=vision_width,
        vision_layers=layers("visual."),
        vision_heads=1,
        vision_mlp_ratio=width_of_mlp("visual.") / vision_width,
        context_length=shape("positional_embedding")[0],
        vocab_size=vocab_size,
        text_width=text_width,
        text_layers=layers(""),
        text_heads=1,
        text_mlp_ratio=width_of_mlp("") / text_width,
        embed_dim=shape("visual.proj")[0 if projection.transpose else 1],
        end_token_id=vocab_size - 1,
    )


def with_heads(sizes: ClipConfig, described: Mapping[str, int]) -> ClipConfig:
    """`sizes` with the heads that are `described`, or of the published model of the same sizes.

    Else they are 64 channels wide, as in all published towers of up to 1024 channels; wider ones
    have no common rule.

    Raises:
        ConfigError: none of these tells them.
    """
    preset = next((preset for preset in PRESETS.values() if _same_sizes(sizes, preset)), None)
    heads = {}
    for tower in ("vision", "text"):
        field, width = f"{tower}_heads", getattr(sizes, f"{tower}_width")
        if field in described:
            heads[field] = described[field]
        elif preset is not None:
            heads[field] = getattr(preset, field)
        elif width <= 1024 and width % 64 == 0:
            heads[field] = width // 64
        else:
            raise ConfigError(
                f"the number of heads of a {tower} tower of width {width} is not known"
            )
    return dataclasses.replace(sizes, **heads)


def published_activation(sizes: ClipConfig) -> str | None:
    """The activation of the published models of these sizes, None where there are two or none.

    OpenAI's models have quick_gelu, those that LAION trained with open_clip gelu; B/32, B/16, L/14
    and H/14 exist with both.
    """
    only = {"ViT-L-14-336": "quick_gelu", "ViT-B-16-plus-240": "gelu"}
    matches = (only[name] for name in only if _same_sizes(sizes, PRESETS[name]))
    return next(matches, None)


def _same_sizes(first: ClipConfig, second: ClipConfig) -> bool:
    """Whether weights of both have the same shapes."""
    first, second = (
        dataclasses.replace(
            config,
            vision_heads=1,
            text_heads=1,
            activation="gelu",
            text_pooling="argmax",
            end_token_id=0,
        )
        for config in (first, second)
    )
    return first == second


def _read_transformers(weights: Weights, folder: Folder, options: Mapping[str, Any]) -> ClipConfig:
    """The config of weights in transformers' layout: config.json's, or else what shapes tell."""
    config = from_transformers(weights, folder, "clip", ClipConfig.from_transformers_config)
    if config is None:
        return _read_shapes(weights, folder, options, TRANSFORMERS_RULES)
    told: dict[str, Any] = dict(described_pixels(folder, transformers=True))
    if options.get("activation"):
        told["activation"] = options["activation"]
    return dataclasses.replace(config, **told)


def _read_others(rules: Sequence[Rule]) -> Callable[..., ClipConfig]:
    def read(weights: Weights, folder: Folder, options: Mapping[str, Any]) -> ClipConfig:
        if weights.container == TORCHSCRIPT:
            folder = Folder(folder.path)  # config files beside OpenAI's are another model's
        return _read_shapes(weights, folder, options, rules)

    return read


def _read_shapes(
    weights: Weights, folder: Folder, options: Mapping[str, Any], rules: Sequence[Rule]
) -> ClipConfig:
    with reading_shapes():
        sizes = config_from_shapes(weights.shapes, rules)
    check_described(folder)
    try:
        config = with_heads(sizes, described_heads(folder, sizes))
    except ConfigError as error:
        raise WeightConversionError(
            f"{weights.files[0]}: {error}: expected the model's open_clip_config.json or, for "
            "weights of transformers, its config.json beside it"
        ) from error
    activation = options.get("activation") or _activation(weights, folder, config)
    pixels = described_pixels(folder, transformers=rules is TRANSFORMERS_RULES)
    return dataclasses.replace(config, activation=activation, **pixels)


def _activation(weights: Weights, folder: Folder, config: ClipConfig) -> str:
    """Shapes do not tell it, and the wrong one only makes results worse: it is never guessed."""
    if weights.container == TORCHSCRIPT:
        return "quick_gelu"
    described = described_activation(folder)
    if described:
        return described
    sizes_stored = {"input_resolution", "context_length", "vocab_size"} & weights.tensors.keys()
    dtypes = {str(np.dtype(tensor.dtype)) for tensor in weights.tensors.values()}
    if sizes_stored or {"float16", "float32"} <= dtypes:
        return "quick_gelu"  # OpenAI's state dicts: half precision but for the norms
    published = published_activation(config)
    if published:
        return published
    raise WeightConversionError(
        f"{weights.files[0]} does not tell which activation this CLIP has: expected "
        f"--clip-activation {'|'.join(ACTIVATIONS)} (OpenAI's models have quick_gelu, LAION's gelu)"
    )


LAYOUTS = (
    Layout(
        "transformers",
        ("vision_model.", "text_model.", "visual_projection.", "text_projection.weight"),
        lambda config: TRANSFORMERS_RULES,
        _read_transformers,
        TRANSFORMERS_IGNORED,
    ),
    Layout(
        "openai",
        ("visual.", "transformer.resblocks.", "token_embedding.", "ln_final."),
        lambda config: OPENAI_RULES,
        _read_others(OPENAI_RULES),
        OPENAI_IGNORED,
    ),
    Layout(
        "open_clip",
        ("visual.", "text.transformer.resblocks.", "text.token_embedding.", "text.ln_final."),
        lambda config: CUSTOM_TEXT_RULES,
        _read_others(CUSTOM_TEXT_RULES),
        OPENAI_IGNORED,
    ),
)
