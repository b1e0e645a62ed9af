"""Every network with published layouts equals its PyTorch original, in every layout and dtype."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import clip_reference
import jax
import jax.numpy as jnp
import numpy as np
import official_layouts as official
import published_weights as published
import pytest
import sam_reference
import torch

from zsas_jax.checkpoints.identify import Source
from zsas_jax.convert.files import Folder, open_weights
from zsas_jax.convert.rules import check_manifest
from zsas_jax.networks import NETWORKS
from zsas_jax.networks.base import abstract_network


class Original(NamedTuple):
    """What the tests need of a network's PyTorch model."""

    build: Callable
    """A tiny model with noise in every tensor."""
    full: Callable
    """A preset's config -> the model of that size on torch's device "meta"."""
    layouts: Mapping[str, Callable]
    """Layout -> the model's state dict in that layout's names."""
    outputs: Callable
    """(model, dtype) -> name -> array."""
    ours: Callable
    """(network, dtype) -> the same by our network."""


def transformers_names(state):
    return state


ORIGINALS = {
    "clip": Original(
        clip_reference.build,
        clip_reference.of_size,
        {
            "transformers": transformers_names,
            "openai": official.openai_names,
            "open_clip": lambda state: official.custom_text_names(official.openai_names(state)),
        },
        clip_reference.outputs,
        clip_reference.our_outputs,
    ),
    "sam": Original(
        lambda: sam_reference.torch_sam(attention="sdpa"),
        sam_reference.of_size,
        {"transformers": transformers_names, "meta": official.meta_names},
        sam_reference.outputs,
        sam_reference.our_outputs,
    ),
}
LAYOUTS = [(name, layout) for name in NETWORKS for layout in NETWORKS[name].layouts]
each_layout = pytest.mark.parametrize(
    ("name", "layout"), [pytest.param(*pair, id=f"{pair[0]}-{pair[1].name}") for pair in LAYOUTS]
)
each_original = pytest.mark.parametrize("name", ORIGINALS)


@pytest.fixture(scope="module")
def models():
    return {name: original.build() for name, original in ORIGINALS.items()}


def converted(name, layout, model, directory, dtype=jnp.float32):
    """The original's weights through a file in that layout."""
    state = ORIGINALS[name].layouts[layout.name](official.state_of(model))
    (weights,) = open_weights(official.write_safetensors(state, directory / "weights"))
    config = NETWORKS[name].config.from_transformers_config(model.config.to_dict())
    return Source(weights, Folder(directory), NETWORKS[name], layout, config).read(dtype)


def differences(found, expected):
    assert found.keys() == expected.keys()
    return {name: sam_reference.relative_difference(found[name], expected[name]) for name in found}


def test_every_layout_has_its_original():
    expected = {name: list(ORIGINALS[name].layouts) for name in ORIGINALS}
    layouts = {name: [layout.name for layout in NETWORKS[name].layouts] for name in NETWORKS}
    assert {name: found for name, found in layouts.items() if found} == expected


@each_layout
def test_every_layout_gives_the_same_parameters(name, layout, models, tmp_path):
    found = converted(name, layout, models[name], tmp_path)
    first = converted(name, NETWORKS[name].layouts[0], models[name], tmp_path / "first")
    assert published.arrays(found) == published.arrays(first)
    # What the tests without PyTorch write is what PyTorch holds.
    theirs = ORIGINALS[name].layouts[layout.name](official.state_of(models[name]))
    for key, array in published.state_dict(found, layout.rules(found.config)).items():
        np.testing.assert_array_equal(array, theirs[key])


@each_original
def test_the_same_outputs(name, models, tmp_path):
    network = converted(name, NETWORKS[name].layouts[0], models[name], tmp_path)
    expected = ORIGINALS[name].outputs(models[name], np.float32)
    found = differences(ORIGINALS[name].ours(network, np.float32), expected)
    assert max(found.values()) < 1e-4, found


@each_original
def test_the_same_outputs_in_float64(name, tmp_path):
    model = ORIGINALS[name].build().double()
    expected = ORIGINALS[name].outputs(model, np.float64)
    with jax.enable_x64(True):
        layout = NETWORKS[name].layouts[0]
        network = converted(name, layout, model, tmp_path, dtype=jnp.float64)
        network = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), network)
        found = differences(ORIGINALS[name].ours(network, np.float64), expected)
    assert max(found.values()) < 1e-9, found


@each_original
def test_bfloat16_is_near(name, models, tmp_path):
    layout = NETWORKS[name].layouts[0]
    network = converted(name, layout, models[name], tmp_path, dtype=jnp.bfloat16)
    expected = ORIGINALS[name].outputs(models[name], np.float32)
    found = differences(ORIGINALS[name].ours(network, np.float32), expected)
    assert max(found.values()) < 0.1, found


@pytest.mark.parametrize(
    ("name", "preset"), [("clip", "ViT-B-32"), ("clip", "ViT-L-14-336"), ("sam", "ViT-L")]
)
def test_names_and_shapes_of_published_sizes(name, preset):
    network = NETWORKS[name]
    config, layout = network.presets[preset], network.layouts[0]
    with torch.device("meta"):
        model = ORIGINALS[name].full(config)
    assert network.config.from_transformers_config(model.config.to_dict()) == config
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    target = abstract_network(network, config)
    check_manifest(target, shapes, layout.rules(config), layout.ignored)
