"""The PyTorch pipeline takes the same steps: its maps are ours but for resizing and padding."""

import jax
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

import zsas_jax
from zsas_jax.benchmarks import pipeline, setups
from zsas_jax.benchmarks.torch_pipeline import TorchPipeline, run_torch
from zsas_jax.checkpoints import Compute
from zsas_jax.config import replace_path
from zsas_jax.errors import ConfigError
from zsas_jax.methods import find_method, settings
from zsas_jax.ops.guided import guided_upsampling


@pytest.fixture(scope="module")
def tiny():
    setup = setups.load_setup("tiny")
    return setup._replace(context=zsas_jax.prepare(setup.bundle, ["leather"], setup.method))


def changed(setup, **changes):
    config = setup.config
    for path, value in changes.items():
        config = replace_path(config, path.replace("__", "."), value)
    return setup._replace(config=config)


@pytest.mark.parametrize(
    ("stages", "confidence", "turns", "weight", "umci_stages"),
    [
        pytest.param(1, "iou", 1, 0.0, 0, marks=pytest.mark.full),
        (3, "iou_times_rough", 4, 0.25, 2),
    ],
)
def test_maps_and_scores_agree(tiny, stages, confidence, turns, weight, umci_stages):
    side = tiny.bundle.model.sam.config.image_size
    setup = changed(
        tiny,
        head__views={"image_size": side, "turns": turns},
        head__upsampling__rule="bilinear",
        head__stages=umci_stages,
        head__similarity_weight=weight,
        refiner__foreground__threshold=0.5,
        # As many points for every region: transformers attends to those that it pads with.
        refiner__points__top_k=1,
        refiner__points__negatives=1,
        refiner__regions=3,
        refiner__stages=stages,
        refiner__rough_weight=0.5,
        refiner__mask_confidence=confidence,
        score__top_fraction=0.02,  # Of fewer pixels, the mean hangs on how maps are resized.
        score__map_weight=0.5,
    )
    # Photos of both networks' size need no resizing, where levels differ.
    images = setups.pictures(4, side)
    ours = pipeline.run_ours(setup, images, Compute())()
    theirs = run_torch(setup, images, "float32", compiled=False)()
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-4)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-4)
    # Prompts took part: the maps are not half the rough map.
    none = changed(setup, refiner__foreground__threshold=1.0)
    half = pipeline.run_ours(none, images, Compute())()[0]
    assert np.abs(theirs[0] - half).max() > 0.1


def test_rough_maps_of_several_sizes_agree(tiny):
    size = tiny.bundle.model.sam.config.image_size
    views = {"image_size": size, "turns": 2, "more_sizes": [size // 2]}
    setup = changed(tiny, head__views=views)
    images = setups.pictures(2, size)
    inputs = setup.inputs(images)
    head = jax.jit(find_method(setup.method).head.rough, static_argnums=3)
    ours = head(setup.bundle.model, *inputs, setup.config.head)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    peer = TorchPipeline(setup.bundle.model, setup.config)
    with torch.inference_mode():
        grid, probability = peer.rough(pixels, torch.from_numpy(np.array(inputs[1])))
    # A resized photo is rounded to levels in ours alone.
    np.testing.assert_allclose(ours.grid, grid, atol=0.03)
    assert np.abs(ours.grid - grid.numpy()).mean() < 2e-3
    np.testing.assert_allclose(ours.probability, probability, atol=5e-3)


def test_guided_upsampling_agrees(tiny):
    rules = tiny.config.head.upsampling
    rough = np.random.default_rng(0).random((2, 16, 16), np.float32)
    images = setups.pictures(2, 32)  # The filter's own size: a resized photo differs by levels.
    sizes = np.full((2, 2), 32, np.int32)
    upsample = jax.jit(guided_upsampling, static_argnums=(3, 4))
    ours = upsample(rough, images, sizes, rules.radius, rules.epsilon)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    peer = TorchPipeline(tiny.bundle.model, changed(tiny, head__upsampling__rule="guided").config)
    theirs = peer.upsample(torch.from_numpy(rough), pixels)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.ptp(ours) > 0.2


def test_what_it_does_not_cover_is_refused(tiny):
    model = tiny.bundle.model
    with pytest.raises(ConfigError, match="negative_rule"):
        TorchPipeline(model, changed(tiny, refiner__points__negative_rule="none").config)
    with pytest.raises(ConfigError, match="UmciHead and Cascade"):
        TorchPipeline(model, settings(tiny.bundle.config, "clipsam"))
