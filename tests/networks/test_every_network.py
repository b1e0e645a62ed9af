"""What every network of the registry promises, whatever it computes.

`manifests/NETWORK_PRESET_LAYOUT.txt` holds one line "name shape dtype" per tensor, written down
from the published architectures; `blocks.[0-11].` stands for a line for each number.
"""

import functools
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import published_weights as published
import pytest
from flax import nnx

import zsas_jax
from zsas_jax.checkpoints.convert import convert_checkpoint
from zsas_jax.checkpoints.identify import Source, identify
from zsas_jax.config import from_dict, to_dict
from zsas_jax.convert.files import Folder, Weights, open_weights
from zsas_jax.errors import ConfigError, WeightConversionError
from zsas_jax.networks import NETWORKS, abstract_networks, register
from zsas_jax.networks.base import abstract_network
from zsas_jax.testing import dummy_bundle, random_weights

MANIFESTS = sorted((pathlib.Path(__file__).parent / "manifests").glob("*.txt"))
# Numbers of the published models, buffers included.
COUNTS = {
    ("clip", "ViT-B-32"): 151_277_313,
    ("clip", "ViT-B-16"): 149_620_737,
    ("clip", "ViT-L-14"): 427_616_513,
    ("clip", "ViT-L-14-336"): 427_944_193,
    ("clip", "ViT-B-16-plus-240"): 208_377_345,
    ("clip", "ViT-H-14"): 986_109_441,
    ("clip", "ViT-g-14"): 1_366_678_273,
    ("clip", "ViT-bigG-14"): 2_539_567_105,
    ("sam", "ViT-B"): 93_735_728,
    ("sam", "ViT-L"): 312_343_088,
    ("sam", "ViT-H"): 641_090_864,
}
# Tensors in the files as published.
TENSORS = {
    "clip_ViT-B-32_openai": 302 + 3,
    "clip_ViT-L-14_openai": 446 + 3,
    "clip_ViT-H-14_openai": 686,
    "clip_ViT-g-14_openai": 782,
    "clip_ViT-bigG-14_openai": 974,
    "clip_ViT-L-14-336_transformers": 590 + 2,
    "sam_ViT-B_meta": 314,
    "sam_ViT-H_meta": 594,
}
each_network = pytest.mark.parametrize("name", NETWORKS)
each_preset = pytest.mark.parametrize(
    ("name", "preset"), [(name, preset) for name in NETWORKS for preset in NETWORKS[name].presets]
)
each_layout = pytest.mark.parametrize(
    ("name", "layout"),
    [
        pytest.param(name, layout, id=f"{name}-{layout.name}")
        for name in NETWORKS
        for layout in NETWORKS[name].layouts
    ],
)


@functools.cache
def small(name):
    """A network's small config with noise in every array."""
    return random_weights(lambda: NETWORKS[name].module(NETWORKS[name].small, rngs=nnx.Rngs(0)))


def source(file, name, layout):
    """The small network's weights in a file, with nothing told by config files."""
    (weights,) = open_weights(file)
    return Source(weights, Folder(file.parent), NETWORKS[name], layout, NETWORKS[name].small)


def stored(name, layout):
    return published.state_dict(small(name), layout.rules(NETWORKS[name].small))


def refused(file, name, layout):
    with pytest.raises(WeightConversionError) as caught:
        source(file, name, layout).read()
    assert str(file) in str(caught.value)
    return str(caught.value)


@each_preset
def test_presets_have_the_published_size(name, preset):
    config = NETWORKS[name].presets[preset]
    leaves = jax.tree.leaves(abstract_network(NETWORKS[name], config))
    assert sum(leaf.size for leaf in leaves) == COUNTS[name, preset]
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}


@each_network
def test_configs_survive_json_and_are_static(name):
    network = NETWORKS[name]
    for config in (network.small, *network.presets.values()):
        again = from_dict(network.config, json.loads(json.dumps(to_dict(config))))
        assert again == config
        assert hash(again) == hash(config)


@each_network
def test_leaves_are_arrays_and_there_are_few(name):
    leaves = jax.tree.leaves(small(name))
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    assert sum(leaf.size for leaf in leaves) < 200_000


def test_small_networks_fit_each_other():
    configs = {name: network.small for name, network in NETWORKS.items()}
    assert abstract_networks(configs).names == tuple(NETWORKS)


@each_network
def test_names_are_taken_once(name):
    assert register(NETWORKS[name]) is NETWORKS[name]
    with pytest.raises(ConfigError, match=name):
        register(NETWORKS[name]._replace(module=nnx.Linear))


def test_every_preset_is_recorded():
    recorded = {tuple(file.stem.split("_")[:2]) for file in MANIFESTS}
    assert recorded == {(name, preset) for name in NETWORKS for preset in NETWORKS[name].presets}


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.stem)
def test_published_manifests_fit_the_presets(file):
    name, preset, layout = file.stem.split("_")
    tensors = read_manifest(file)
    assert len(tensors) == TENSORS.get(file.stem, len(tensors))
    network = NETWORKS[name]
    expected = network.presets[preset]
    options = {option: getattr(expected, option) for option in network.options}
    weights = Weights((file,), "manifest", tensors)
    # Told from names and shapes alone, with nothing left over or missing.
    found = identify([weights], Folder(file.parent), {name: options})
    assert (found.network.name, found.layout.name) == (name, layout)
    assert found.config == expected
    assert found.problems() == 0


@each_layout
def test_every_layout_converts_to_the_same_numbers(name, layout, tmp_path):
    file = published.write(stored(name, layout), tmp_path / "weights")
    converted = source(file, name, layout).read()
    assert jax.tree.structure(converted) == jax.tree.structure(small(name))
    assert published.arrays(converted) == published.arrays(small(name))


@each_layout
def test_every_layout_is_strict(name, layout, tmp_path):
    weights = stored(name, layout)
    first, second, third, *_ = (key for key in weights if weights[key].ndim > 1)
    del weights[first]
    weights["surplus.weight"] = np.zeros(3, np.float32)
    weights[second] = weights[second][..., None]
    weights[third] = np.full_like(weights[third], np.nan)
    message = refused(published.write(weights, tmp_path / "weights"), name, layout)
    assert "1 missing, 1 unexpected, 1 mis-shaped, 1 not finite" in message
    for key in (first, second, third, "surplus.weight"):
        assert key in message


@each_layout
def test_bfloat16_is_kept_for_what_it_does_not_harm(name, layout, tmp_path):
    file = published.write(stored(name, layout), tmp_path / "weights")
    exact, narrow = (source(file, name, layout).read(dtype) for dtype in ("float32", "bfloat16"))
    check_narrow(exact, narrow)


def check_narrow(exact, narrow):
    """Parameters are rounded; scalars and buffers are exact."""
    pairs = zip(*(nnx.to_flat_state(nnx.state(each)) for each in (exact, narrow)), strict=True)
    for (path, one), (_, two) in pairs:
        is_wide = one.ndim == 0 or not isinstance(one, nnx.Param)
        expected = one[...] if is_wide else one[...].astype(jnp.bfloat16)
        assert two.dtype == expected.dtype, path
        np.testing.assert_array_equal(two[...], expected)


@each_network
def test_checkpoints_keep_every_number_in_any_dtype(name, tmp_path):
    bundle = dummy_bundle([name])
    directory = zsas_jax.save(tmp_path / "model", bundle)
    loaded = zsas_jax.load(directory)
    assert loaded.config == bundle.config
    assert jax.tree.structure(loaded.model) == jax.tree.structure(bundle.model)
    assert published.arrays(loaded.model) == published.arrays(bundle.model)
    check_narrow(bundle.model, zsas_jax.load(directory, dtype=jnp.bfloat16).model)
    with jax.enable_x64(True):
        wide = zsas_jax.load(directory, dtype=jnp.float64).model
        leaves = jax.tree.leaves(nnx.state(wide, nnx.Param))
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float64)}


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    bundle, directory = dummy_bundle(), tmp_path_factory.mktemp("checkpoints") / "all"
    return bundle, zsas_jax.save(directory, bundle, provenance={"trained_on": ["mvtec"]})


@each_network
def test_one_network_of_a_checkpoint_is_taken_over(name, everything, tmp_path):
    bundle, directory = everything
    output = convert_checkpoint(tmp_path / "one", {name: directory})
    alone = zsas_jax.load(output)
    assert alone.model.names == (name,)
    assert published.arrays(alone.model) == published.arrays(getattr(bundle.model, name))
    assert alone.config.networks == {name: NETWORKS[name].small}
    assert (alone.tokenizer is None) == (NETWORKS[name].tokenizer is None)
    assert json.loads((output / "provenance.json").read_text())["trained_on"] == ["mvtec"]


def read_manifest(file):
    """Name -> array of a shape and dtype, with zero strides: no numbers."""
    tensors = {}
    for line in file.read_text().splitlines():
        name, shape, dtype = line.split()
        sizes = () if shape == "scalar" else tuple(map(int, shape.split("x")))
        for full in expand(name):
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
