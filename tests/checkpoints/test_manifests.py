"""Names, shapes and dtypes of every published checkpoint fit the presets; no weights in memory.

`manifests/NETWORK_SIZE_LAYOUT.txt` holds one line "name shape dtype" per tensor, written down from
the published architectures; `blocks.[0-11].` stands for a line for each number.
"""

import dataclasses
import pathlib
import re

import numpy as np
import pytest

from zsas_jax.checkpoints.identify import abstract_network, identify
from zsas_jax.convert.files import Folder, Weights
from zsas_jax.errors import WeightConversionError
from zsas_jax.networks.clip import PRESETS
from zsas_jax.networks.clip.convert import published_activation
from zsas_jax.networks.sam import SamConfig

FILES = sorted((pathlib.Path(__file__).parent / "manifests").glob("*.txt"))
# Tensors in the files as published.
COUNTS = {
    "clip_ViT-B-32_openai": 302 + 3,
    "clip_ViT-L-14_openai": 446 + 3,
    "clip_ViT-H-14_openai": 686,
    "clip_ViT-g-14_openai": 782,
    "clip_ViT-bigG-14_openai": 974,
    "clip_ViT-L-14-336_transformers": 590 + 2,
    "sam_vit_b_meta": 314,
    "sam_vit_h_meta": 594,
}


def read_manifest(file):
    tensors = {}
    for line in file.read_text().splitlines():
        name, shape, dtype = line.split()
        sizes = () if shape == "scalar" else tuple(map(int, shape.split("x")))
        for full in expand(name):
            # Zero strides: shape and dtype without numbers.
            tensors[full] = np.broadcast_to(np.zeros((), dtype), sizes)
    return tensors


def expand(name):
    match = re.search(r"\[([\d,-]+)\]", name)
    if not match:
        return [name]
    numbers = []
    for run in match[1].split(","):
        first, _, last = run.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return [f"{name[: match.start()]}{number}{name[match.end() :]}" for number in numbers]


def preset(network, size):
    return PRESETS[size] if network == "clip" else getattr(SamConfig, size)()


def test_every_published_checkpoint_is_recorded():
    recorded = {tuple(file.stem.rsplit("_", 1)) for file in FILES}
    openai = {(f"clip_{size}", "openai") for size in PRESETS}
    transformers = {(f"clip_{size}", "transformers") for size in PRESETS if "plus" not in size}
    sam = {(f"sam_vit_{size}", layout) for size in "blh" for layout in ("meta", "transformers")}
    assert recorded == openai | transformers | sam


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_manifest_fits_the_preset(file):
    network, size, layout = re.fullmatch(r"(clip|sam)_(.+)_(\w+?)", file.stem).groups()
    tensors = read_manifest(file)
    if file.stem in COUNTS:
        assert len(tensors) == COUNTS[file.stem]
    expected = preset(network, size)
    weights = Weights((file,), "manifest", tensors)
    activation = "quick_gelu" if network == "clip" else None
    source = identify([weights], Folder(file.parent), activation=activation)
    # Told from names and shapes alone, with nothing left over or missing.
    assert (source.network, source.layout.name) == (network, layout)
    if network == "clip":
        known = published_activation(source.config)
        assert known in (None, expected.activation)
        expected = dataclasses.replace(expected, activation="quick_gelu")
    assert source.config == expected
    assert source.problems() == 0
    assert abstract_network(source.config) is not None


@pytest.mark.parametrize("size", ["ViT-L-14", "ViT-H-14", "ViT-g-14", "ViT-bigG-14"])
def test_the_activation_of_sizes_published_with_both_is_asked_for(size):
    tensors = read_manifest(FILES[0].with_name(f"clip_{size}_openai.txt"))
    # OpenAI's own files are told by their half precision and the sizes that they hold.
    tensors = {
        name: np.broadcast_to(np.float32(0), tensor.shape)
        for name, tensor in tensors.items()
        if tensor.ndim or name == "logit_scale"
    }
    with pytest.raises(WeightConversionError, match="--clip-activation"):
        identify([Weights((FILES[0],), "manifest", tensors)], Folder(FILES[0].parent))


def test_heads_of_wide_towers_are_not_guessed():
    # open_clip's ViT-H-14-378, which is no preset.
    tensors = read_manifest(FILES[0].with_name("clip_ViT-H-14_openai.txt"))
    name = "visual.positional_embedding"
    tensors[name] = np.broadcast_to(tensors[name][:1], (27**2 + 1, 1280))
    weights, place = Weights((FILES[0],), "manifest", tensors), FILES[0].parent
    with pytest.raises(
        WeightConversionError,
        match=r"heads of a vision tower of width 1280 is not known; put .*open_clip_config.json",
    ):
        identify([weights], Folder(place), activation="gelu")
    model = {"vision_cfg": {"width": 1280, "head_width": 80}, "text_cfg": {"heads": 16}}
    config = identify([weights], Folder(place, open_clip={"model_cfg": model})).config
    assert config == dataclasses.replace(PRESETS["ViT-H-14"], image_size=378)
