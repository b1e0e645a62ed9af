"""transformers' `CLIPModel` state dict -> `Clip`."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from zsas_jax.clip.config import ClipConfig
from zsas_jax.clip.model import Clip
from zsas_jax.weights.conversion import Rule, convert

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


def convert_transformers(
    state_dict: Mapping[str, np.ndarray], config: ClipConfig, *, param_dtype=jnp.float32
) -> Clip:
    """Builds a Clip from the state dict of transformers' CLIPModel, as NumPy arrays.

    `config` usually comes from `ClipConfig.from_transformers_config`.

    Raises:
        WeightConversionError: any name, shape or value that does not fit, all in one message.
    """
    abstract = nnx.eval_shape(lambda: Clip(config, rngs=nnx.Rngs(0), param_dtype=param_dtype))
    return convert(abstract, state_dict, TRANSFORMERS_RULES, TRANSFORMERS_IGNORED)
