"""Full-size networks with random weights, through the official files, equal PyTorch.

Every layout of the same weights is converted by the command line's own function and must give the
same bytes; one of them is then run against the original.
"""

import gc
import os

import clip_reference
import jax
import numpy as np
import official_layouts as official
import published_weights as published
import pytest
import sam_reference
import torch

import zsas_jax
from zsas_jax.checkpoints.convert import convert_checkpoint
from zsas_jax.networks import sam
from zsas_jax.networks.clip import PRESETS, encode_image, encode_text

pytestmark = pytest.mark.full
TOLERANCE = 1e-4
# The other sizes, and bfloat16 (which CPUs emulate), take long and much memory.
EVERYTHING = "ZSAS_ALL_SIZES" in os.environ
more = pytest.mark.skipif(not EVERYTHING, reason="runs with ZSAS_ALL_SIZES=1")


def fingerprints(model):
    """One hash per leaf: the bytes of several large networks do not fit into memory."""
    return [hash(data) for data in published.arrays(model)]


def same_in_every_layout(network, layouts, directory):
    """Converts one layout after the other; returns the last directory."""
    expected = None
    for name, write in layouts.items():
        source = write(directory / name)
        output = convert_checkpoint(
            directory / "out", {network: source}, overwrite=True, dtype="float32"
        )
        found = fingerprints(getattr(zsas_jax.load(output).model, network))
        assert expected in (None, found), name
        expected = found
        gc.collect()
    return output


def largest_differences(found, expected):
    return {
        name: sam_reference.relative_difference(np.asarray(found[name], np.float32), value)
        for name, value in expected.items()
    }


@pytest.mark.parametrize(
    "name", ["ViT-B-16-plus-240", "ViT-L-14-336", pytest.param("ViT-L-14", marks=more)]
)
def test_clip(name, tmp_path):
    config = PRESETS[name]
    step = config.vision_layers // 4
    layers = tuple(range(step, config.vision_layers + 1, step))
    model = clip_reference.build_preset(config)
    pixels, tensor = clip_reference.images(config.image_size, config.image_size, batch=1)
    tokens = np.random.default_rng(3).integers(0, 49407, size=(2, 77)).astype(np.int32)
    tokens[:, 40] = 49407
    with torch.no_grad():
        image = model.vision_model(tensor, output_hidden_states=True)
        text = model.text_model(torch.tensor(tokens)).pooler_output
        expected = {f"layer {n}": image.hidden_states[n][:, 1:].numpy() for n in layers}
        expected["class"] = model.visual_projection(image.pooler_output).numpy()
        expected["text"] = model.text_projection(text).numpy()
    state, description = official.state_of(model), model.config.to_json_string()
    del model, image, text

    def transformers(place):
        place.mkdir()
        (place / "config.json").write_text(description)
        official.write_safetensors(state, place / "model.safetensors")
        return place

    def shards(place):
        place.mkdir()
        (place / "config.json").write_text(description)
        return official.write_shards(state, place, "pytorch_model", ".bin")

    def open_clip(place):
        openai = official.openai_names(state)
        official.write_safetensors(openai, place / "open_clip_model.safetensors")
        quick = "true" if config.activation == "quick_gelu" else "false"
        (place / "open_clip_config.json").write_text(f'{{"model_cfg": {{"quick_gelu": {quick}}}}}')
        return place

    def script(place):
        return official.write_torchscript(official.openai_names(state), place / "ViT.pt")

    layouts = {"shards": shards, "open_clip": open_clip, "transformers": transformers}
    if config.activation == "quick_gelu":  # OpenAI's own
        layouts = {"script": script, **layouts}
    output = same_in_every_layout("clip", layouts, tmp_path)
    del state
    for dtype, tolerance in (("float32", TOLERANCE), ("bfloat16", None))[: 1 + EVERYTHING]:
        clip = zsas_jax.load(output, dtype=dtype).model.clip
        encoded = jax.jit(encode_image, static_argnames="layers")(clip, pixels, layers=layers)
        found = {f"layer {n}": x for n, x in zip(layers, encoded.patch_tokens, strict=True)}
        found["class"] = encoded.class_embedding
        found["text"] = jax.jit(encode_text)(clip, tokens)
        differences = largest_differences(found, expected)
        print(name, dtype, {key: f"{value:.1e}" for key, value in differences.items()})
        assert tolerance is None or max(differences.values()) < tolerance


@pytest.mark.parametrize(
    "size", ["ViT-B", pytest.param("ViT-L", marks=more), pytest.param("ViT-H", marks=more)]
)
def test_sam(size, tmp_path):
    config = sam.PRESETS[size]
    model = sam_reference.torch_sam(
        {
            "vision_config": {
                "hidden_size": config.width,
                "num_hidden_layers": config.depth,
                "num_attention_heads": config.heads,
                "global_attn_indexes": list(config.global_attn_indexes),
            }
        }
    )
    image = sam_reference.pixels(batch=1, side=1024)
    prompt = sam_reference.prompts(batch=1, regions=2, side=1024)
    points, labels = prompt["points"], prompt["labels"]
    with torch.no_grad():
        nchw = torch.from_numpy(np.moveaxis(image, -1, 1).copy())
        embedding = np.moveaxis(model.get_image_embeddings(nchw).numpy(), 1, -1)
    low_resolution = 4 * np.random.default_rng(3).normal(size=(1, 2, 256, 256)).astype(np.float32)
    kinds = {"points": (None, None), "all prompts": (prompt["boxes"], low_resolution)}
    expected = {"embedding": embedding}
    for kind, others in kinds.items():
        logits, iou = sam_reference.reference_masks(model, embedding, points, labels, *others)
        expected |= {f"logits, {kind}": logits, f"iou, {kind}": iou}
    state, description = official.state_of(model), model
    layouts = {
        "meta": lambda place: official.write_pickle(official.meta_names(state), place / "x.pth"),
        "transformers": lambda place: (
            official.write_safetensors(
                state, official.write_config(description, place) / "model.safetensors"
            ).parent
        ),
    }
    output = same_in_every_layout("sam", layouts, tmp_path)
    del model, description, state, layouts
    for dtype, tolerance in (("float32", TOLERANCE), ("bfloat16", None))[: 1 + EVERYTHING]:
        network = zsas_jax.load(output, dtype=dtype).model.sam
        assert network.config == config
        found = {"embedding": sam_reference.encode(network, image)}
        for kind, others in kinds.items():
            masks = sam_reference.decode(network, embedding, points, labels, None, *others)
            found |= {f"logits, {kind}": masks.logits, f"iou, {kind}": masks.iou}
        differences = largest_differences(found, expected)
        print(size, dtype, {key: f"{value:.1e}" for key, value in differences.items()})
        assert tolerance is None or max(differences.values()) < tolerance
