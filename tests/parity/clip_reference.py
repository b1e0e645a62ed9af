"""transformers' CLIP with every tensor overwritten by noise, sized like trained weights."""

import numpy as np
import pytest

from zsas_jax.networks.clip import ClipConfig, convert_transformers

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def build(*, activation="quick_gelu", eos_token_id=2, seed=0, **sizes):
    """A random CLIPModel, by default tiny, on which no tensor keeps its initial ones or zeros."""
    sizes = {
        "vision": {
            "hidden_size": 48,
            "intermediate_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        "text": {
            "vocab_size": 99,
            "hidden_size": 36,
            "intermediate_size": 72,
            "num_hidden_layers": 3,
            "num_attention_heads": 3,
            "max_position_embeddings": 13,
        },
        "dim": 24,
        **sizes,
    }
    config = transformers.CLIPConfig(
        text_config={
            **sizes["text"],
            "hidden_act": activation,
            "eos_token_id": eos_token_id,
            "bos_token_id": 1,
            "pad_token_id": 0,
        },
        vision_config={**sizes["vision"], "hidden_act": activation},
        projection_dim=sizes["dim"],
        attn_implementation="sdpa",  # the eager one computes its softmax in float32, always
    )
    model = transformers.CLIPModel(config).eval()
    randomise(model, seed)
    return model


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.empty_like(parameter).normal_(generator=generator)
            if "norm" in name:
                offset = 1.0 if name.endswith("weight") else 0.0
                parameter.copy_(offset + 0.3 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.2 * noise)
            elif "embedding" in name and "patch" not in name:
                parameter.copy_(0.5 * noise)
            elif parameter.ndim == 0:
                parameter.copy_(3 + 0.1 * noise)
            else:
                fan_in = parameter[0].numel()
                parameter.copy_(noise * fan_in**-0.5)


def converted(model, **options):
    """Our Clip with the same weights."""
    config = ClipConfig.from_transformers_config(model.config.to_dict())
    state_dict = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return convert_transformers(state_dict, config, **options)


def images(height, width, batch=2, seed=1):
    """Normalised pixels, channels last, and the same for torch."""
    pixels = np.random.default_rng(seed).normal(size=(batch, height, width, 3))
    return pixels.astype(np.float32), torch.tensor(pixels).permute(0, 3, 1, 2).float()


def relative(ours, theirs):
    """Largest difference over the largest value."""
    theirs = theirs.detach().numpy()
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / np.abs(theirs).max()
