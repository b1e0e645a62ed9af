# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
"""This package's networks as transformers' models of the same weights, to compare speed with."""

import pathlib
from typing import Any
from unittest import mock

import numpy as np
import torch
import transformers
from flax import nnx
from safetensors.torch import save_file

from zsas_jax.benchmarks.setups import find_sizes, random_network
from zsas_jax.convert.rules import apply_rename, native_names
from zsas_jax.networks.clip import Clip
from zsas_jax.networks.clip.convert import TRANSFORMERS_RULES
from zsas_jax.networks.sam import Sam
from zsas_jax.networks.sam.convert import SHARED_MATRIX, SHARED_MATRIX_COPY, transformers_rules


def device() -> str:
    """The accelerator where there is one, with products in TF32 as JAX has them there."""
    if not torch.cuda.is_available():
        return "cpu"
    torch.set_float32_matmul_precision("high")
    return "cuda"


def state_dict(network: nnx.Module, rules: Any) -> dict[str, torch.Tensor]:
    """A state dict under the names that `rules` lead to: the converter's way back."""
    _, state = nnx.split(network)
    names = native_names(network)
    tensors = {}
    for path, variable in nnx.to_flat_state(state):
        owner: Any = network
        for part in path[:-1]:
            owner = owner[part] if isinstance(part, int) else getattr(owner, part)
        where = apply_rename(names[path], rules)
        array = _torch_layout(owner, str(path[-1]), np.asarray(variable[...], np.float32))
        if where.transpose:
            array = array.T
        parts = np.split(array, len(where.names)) if len(where.names) > 1 else [array]
        for name, part in zip(where.names, parts, strict=True):
            # A copy: PyTorch's memory layout, and none of ours kept alive.
            tensors[name] = torch.from_numpy(np.array(part, order="C"))
    return tensors


def _torch_layout(owner: Any, leaf: str, array: np.ndarray) -> np.ndarray:
    window = range(array.ndim - 2)
    if leaf == "kernel" and isinstance(owner, nnx.ConvTranspose):
        mirrored = array if owner.transpose_kernel else np.flip(array, tuple(window))
        last = (-1, -2) if owner.transpose_kernel else (-2, -1)
        return np.moveaxis(mirrored, last, (0, 1))
    if leaf == "kernel":
        return np.moveaxis(array, (-1, -2), (0, 1))
    return array


def transformers_sam(sam: Sam, attention: str = "sdpa") -> transformers.SamModel:
    """Transformers' SAM with the same sizes and weights; Meta's epsilon in the decoder."""
    config = sam.config
    vision = {
        "hidden_size": config.width,
        "output_channels": config.out_chans,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "mlp_ratio": config.mlp_ratio,
        "window_size": config.window_size,
        "global_attn_indexes": list(config.global_attn_indexes),
        "num_pos_feats": config.out_chans // 2,
        "layer_norm_eps": config.encoder_eps,
    }
    prompt = {
        "hidden_size": config.out_chans,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "mask_input_channels": config.mask_channels,
    }
    decoder = {
        "hidden_size": config.out_chans,
        "mlp_dim": config.decoder_mlp_dim,
        "num_hidden_layers": config.decoder_depth,
        "num_attention_heads": config.decoder_heads,
        "attention_downsample_rate": config.decoder_downsample,
        "iou_head_depth": config.iou_head_depth,
        "iou_head_hidden_dim": config.iou_head_hidden,
        "layer_norm_eps": config.decoder_eps,
    }
    theirs = transformers.SamConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    tensors = state_dict(sam, transformers_rules(config))
    tensors[SHARED_MATRIX_COPY] = tensors[SHARED_MATRIX]
    # Its two-way blocks ignore the config's rate and take this default.
    block = transformers.models.sam.modeling_sam.SamTwoWayAttentionBlock
    defaults = (config.decoder_downsample, False)
    with mock.patch.object(block.__init__, "__defaults__", defaults):
        return _filled(transformers.SamModel, theirs, tensors, attention)


def transformers_clip(clip: Clip, attention: str = "sdpa") -> transformers.CLIPModel:
    """Transformers' CLIP with the same sizes and weights."""
    config = clip.config
    text = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.text_width,
        "intermediate_size": round(config.text_width * config.text_mlp_ratio),
        "num_hidden_layers": config.text_layers,
        "num_attention_heads": config.text_heads,
        "max_position_embeddings": config.context_length,
        "hidden_act": config.activation,
        "layer_norm_eps": config.eps,
        "eos_token_id": 2 if config.text_pooling == "argmax" else config.end_token_id,
    }
    vision = {
        "hidden_size": config.vision_width,
        "intermediate_size": round(config.vision_width * config.vision_mlp_ratio),
        "num_hidden_layers": config.vision_layers,
        "num_attention_heads": config.vision_heads,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "hidden_act": config.activation,
        "layer_norm_eps": config.eps,
    }
    theirs = transformers.CLIPConfig(
        text_config=text, vision_config=vision, projection_dim=config.embed_dim
    )
    return _filled(transformers.CLIPModel, theirs, state_dict(clip, TRANSFORMERS_RULES), attention)


def _filled(kind: Any, config: Any, tensors: dict[str, torch.Tensor], attention: str) -> Any:
    config._attn_implementation = attention
    for name in config.sub_configs:
        getattr(config, name)._attn_implementation = attention
    model = kind(config).eval()
    missing, unexpected = model.load_state_dict(tensors, strict=False, assign=True)
    missing = [name for name in missing if not name.endswith("position_ids")]
    if missing or unexpected:
        raise ValueError(f"not filled: {missing}; not used: {unexpected}")
    model.requires_grad_(False)
    return model


def write_published(size: str, place: pathlib.Path) -> None:
    """A SAM of random weights as Meta's `meta.pth` and as a transformers directory `hf`."""
    network, config = find_sizes(size)
    sam: Any = random_network(network, config)
    model = transformers_sam(sam)
    model.config.save_pretrained(place / "hf")
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    tensors[SHARED_MATRIX_COPY] = tensors[SHARED_MATRIX].clone()
    save_file(tensors, place / "hf" / "model.safetensors", metadata={"format": "pt"})
    torch.save(state_dict(sam, ()), place / "meta.pth")
