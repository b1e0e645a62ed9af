"""transformers' CLIP with every tensor overwritten by noise, sized like trained weights."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers

from zsas_jax.networks.clip import ClipConfig, convert_transformers, encode_image, encode_text

# The vocabulary ends with the end token.
TOKENS = np.array(
    [
        [1, 5, 17, 40, 98, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 98, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 97, 33, 64, 2, 12, 55, 6, 71, 8, 90, 31, 98],
        # After the first end token more end tokens, as transformers pads.
        [1, 97, 33, 64, 98, 98, 98, 98, 98, 98, 98, 98, 98],
    ],
    np.int32,
)


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


def of_size(config):
    """Transformers' CLIPModel of our config, with its own initialisation."""
    return transformers.CLIPModel(_config(config))


def build_preset(config):
    """The same with noise in every tensor."""
    model = transformers.CLIPModel(_config(config)).eval()
    randomise(model, 0)
    return model


def _config(config):
    vision = {
        "hidden_size": config.vision_width,
        "intermediate_size": round(config.vision_mlp_ratio * config.vision_width),
        "num_hidden_layers": config.vision_layers,
        "num_attention_heads": config.vision_heads,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
    }
    text = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.text_width,
        "intermediate_size": round(config.text_mlp_ratio * config.text_width),
        "num_hidden_layers": config.text_layers,
        "num_attention_heads": config.text_heads,
        "max_position_embeddings": config.context_length,
        "eos_token_id": 2,  # of configs whose models pool at the highest token id
    }
    return transformers.CLIPConfig(
        text_config=text | {"hidden_act": config.activation},
        vision_config=vision | {"hidden_act": config.activation},
        projection_dim=config.embed_dim,
        attn_implementation="sdpa",
    )


LAYERS = (1, 3, 4)
ENCODE_IMAGE = jax.jit(encode_image, static_argnames="layers")
ENCODE_TEXT = jax.jit(encode_text)


@torch.no_grad()
def outputs(model, dtype):
    """Of both towers of the tiny model, on a photo that is not square."""
    tensor = images(24, 56)[1].to(torch.float64 if dtype == np.float64 else torch.float32)
    image = model.vision_model(tensor, output_hidden_states=True, interpolate_pos_encoding=True)
    text = model.text_model(torch.tensor(TOKENS)).pooler_output
    found = {f"layer {n}": image.hidden_states[n][:, 1:].numpy() for n in LAYERS}
    found["class"] = model.visual_projection(image.pooler_output).numpy()
    return found | {"text": model.text_projection(text).numpy()}


def our_outputs(clip, dtype):
    encoded = ENCODE_IMAGE(clip, jnp.asarray(images(24, 56)[0], dtype), layers=LAYERS)
    found = {f"layer {n}": x for n, x in zip(LAYERS, encoded.patch_tokens, strict=True)}
    return found | {"class": encoded.class_embedding, "text": ENCODE_TEXT(clip, TOKENS)}


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
