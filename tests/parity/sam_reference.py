"""The PyTorch side of SAM's parity tests: tiny models, weights, and one prompt at a time."""

import jax
import numpy as np
import torch
import transformers

import zsas_jax.networks.sam as zsam

# A grid of 6 with windows of 4: every windowed block pads. No two sizes are equal by accident.
TINY = {
    "vision_config": {
        "hidden_size": 48,
        "output_channels": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": 96,
        "patch_size": 16,
        "mlp_ratio": 2.0,
        "window_size": 4,
        "global_attn_indexes": [1],
        "num_pos_feats": 16,
        "initializer_range": 0.02,
    },
    "prompt_encoder_config": {
        "hidden_size": 32,
        "image_size": 96,
        "patch_size": 16,
        "mask_input_channels": 20,
    },
    "mask_decoder_config": {
        "hidden_size": 32,
        "mlp_dim": 72,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "iou_head_depth": 4,
        "iou_head_hidden_dim": 24,
    },
}


def torch_sam(sections=None, dtype=torch.float32, attention="eager"):
    """Transformers' SAM with every tensor overwritten by noise, and Meta's decoder epsilon."""
    config = transformers.SamConfig(**(TINY if sections is None else sections))
    config.mask_decoder_config.layer_norm_eps = 1e-5
    config._attn_implementation = attention
    for section in (config.vision_config, config.prompt_encoder_config, config.mask_decoder_config):
        section._attn_implementation = attention
    model = transformers.SamModel(config).eval()
    randomise(model)
    return model.to(dtype)


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Noise of the size of trained weights in EVERY tensor; zeros would hide whole branches."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.named_parameters():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith(("pos_embed", "rel_pos_h", "rel_pos_w")):
            tensor.copy_(0.3 * noise)
        elif name.endswith("positional_embedding"):
            tensor.copy_(noise)
        elif name.endswith("bias"):
            tensor.copy_(0.1 * noise)
        elif "layer_norm" in name:
            tensor.copy_(1.0 + 0.2 * noise)
        elif ("embed" in name and tensor.shape[0] == 1) or ("token" in name and tensor.ndim == 2):
            tensor.copy_(noise * (0.7 if tensor.shape[0] <= 4 else tensor.shape[1] ** -0.5))
        else:
            tensor.copy_(noise * (tensor[0].numel() ** -0.5))


def state_dict(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def converted(model, **options) -> zsam.Sam:
    config = zsam.SamConfig.from_transformers_config(model.config.to_dict())
    return zsam.convert_transformers(state_dict(model), config, **options)


def to_torch(array, dtype=None):
    return None if array is None else torch.from_numpy(np.array(array, dtype=dtype))


@torch.no_grad()
def reference_masks(
    model, embedding, points=None, labels=None, boxes=None, masks=None, multimask=True
):
    """Runs transformers region by region: logits [B, R, M, h, w] and IoU [B, R, M]."""
    given = [array for array in (points, boxes, masks) if array is not None]
    regions = given[0].shape[1] if given else 1
    logits, ious = [], []
    for region in range(regions):
        one = slice(region, region + 1)
        output = model(
            image_embeddings=to_torch(np.moveaxis(embedding, -1, 1)),
            input_points=None if points is None else to_torch(points[:, one]),
            input_labels=None if labels is None else to_torch(labels[:, one]),
            input_boxes=None if boxes is None else to_torch(boxes[:, one]),
            input_masks=None if masks is None else to_torch(masks[:, one]),
            multimask_output=multimask,
        )
        logits.append(output.pred_masks.numpy())
        ious.append(output.iou_scores.numpy())
    return np.concatenate(logits, axis=1), np.concatenate(ious, axis=1)


def relative_difference(ours, theirs) -> float:
    """Largest difference relative to the largest value."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    assert np.isfinite(ours).all()
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def prompts(batch=2, regions=3, points=3, side=96, dtype=np.float32):
    """Random points with labels, boxes and low-resolution mask logits in the input frame."""
    random = np.random.default_rng(1)
    corners = np.sort(random.uniform(0, side, (batch, regions, 2, 2)), axis=2)
    return {
        "points": random.uniform(0, side, (batch, regions, points, 2)).astype(dtype),
        "labels": random.integers(0, 2, (batch, regions, points)).astype(np.int32),
        "boxes": corners.reshape(batch, regions, 4).astype(dtype),
        "masks": (4 * random.normal(size=(batch, regions, 24, 24))).astype(dtype),
    }


def pixels(batch=2, side=96, dtype=np.float32):
    return np.random.default_rng(2).normal(size=(batch, side, side, 3)).astype(dtype)


decode = jax.jit(zsam.decode_masks, static_argnames="multimask")
encode = jax.jit(zsam.encode_image)


def of_size(config):
    """Transformers' SamModel of a preset, with its own initialisation."""
    vision = {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "global_attn_indexes": list(config.global_attn_indexes),
    }
    return transformers.SamModel(transformers.SamConfig(vision_config=vision))


@torch.no_grad()
def outputs(model, dtype):
    """Of encoder and decoder of the tiny model, with every kind of prompt."""
    image = torch.from_numpy(np.moveaxis(pixels(dtype=dtype), -1, 1).copy())
    embedding = np.moveaxis(model.get_image_embeddings(image).numpy(), 1, -1)
    logits, iou = reference_masks(model, embedding, *prompts(dtype=dtype).values())
    return {"embedding": embedding, "logits": logits, "iou": iou}


def our_outputs(sam, dtype):
    embedding = encode(sam, pixels(dtype=dtype))
    points, labels, *others = prompts(dtype=dtype).values()
    logits, iou = decode(sam, embedding, points, labels, None, *others)
    return {"embedding": embedding, "logits": logits, "iou": iou}
