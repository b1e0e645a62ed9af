"""The PyTorch pipeline takes the same steps: its maps are ours but for resizing and padding."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from small_pipeline import run_rough

pytest.importorskip("torch")
pytest.importorskip("transformers")

from zsas_jax.benchmarks import __main__ as benchmarks
from zsas_jax.benchmarks import line, pipeline
from zsas_jax.benchmarks.torch_pipeline import TorchPipeline
from zsas_jax.errors import ConfigError
from zsas_jax.ops.guided import guided_upsampling


@pytest.fixture(scope="module")
def tiny():
    return pipeline.networks_of("tiny")


@pytest.mark.parametrize(
    ("stages", "confidence", "turns", "rough", "umci_stages"),
    [
        pytest.param(1, "iou", 1, "umci", 0, marks=pytest.mark.full),
        (3, "iou_times_rough", 4, "both", 2),
    ],
)
def test_maps_and_scores_agree(tiny, stages, confidence, turns, rough, umci_stages):
    networks, config, text = tiny
    config = dataclasses.replace(
        config,
        clip_image_size=networks.sam.config.image_size,
        clip_turns=turns,
        clip_more_sizes=(),
        rough=rough,
        umci_stages=umci_stages,
        similarity_weight=0.25,
        rough_upsampling="bilinear",
        cps_stages=stages,
        cascade_rough_weight=0.5,
        cascade_mask_confidence=confidence,
        rough_threshold=0.5,
        regions=3,
        # As many points for every region: transformers attends to those that it pads with.
        top_k=1,
        negative_points=1,
        score_top_fraction=0.02,  # Of fewer pixels, the mean hangs on how maps are resized.
        score_map_weight=0.5,
    )
    # Photos of both networks' size need no resizing, where levels differ.
    images = pipeline.pictures(4, networks.sam.config.image_size)
    words = np.repeat(text, 4, axis=0)
    ours = pipeline.run_ours(networks, images, words, config)()
    theirs = TorchPipeline(networks, config)(images, words)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-4)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-4)
    # Prompts took part: the maps are not half the rough map.
    none = dataclasses.replace(config, rough_threshold=1.0)
    half = pipeline.run_ours(networks, images, words, none)()[0]
    assert np.abs(theirs[0] - half).max() > 0.1


def test_rough_maps_of_several_sizes_agree(tiny):
    import torch

    networks, config, text = tiny
    size = networks.sam.config.image_size
    config = dataclasses.replace(
        config, clip_image_size=size, clip_turns=2, clip_more_sizes=(size // 2,), rough="both"
    )
    images, words = pipeline.pictures(2, size), np.repeat(text, 2, axis=0)
    ours = run_rough(networks, images, np.full((2, 2), size), words, "both", config)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        grid, probability = TorchPipeline(networks, config).rough(pixels, torch.from_numpy(words))
    # A resized photo is rounded to levels in ours alone.
    np.testing.assert_allclose(ours.grid, grid, atol=0.03)
    assert np.abs(ours.grid - grid.numpy()).mean() < 2e-3
    np.testing.assert_allclose(ours.class_probability, probability, atol=5e-3)


def test_guided_upsampling_agrees(tiny):
    import torch

    networks, config, _ = tiny
    config = dataclasses.replace(config, rough_upsampling="guided")
    rough = np.random.default_rng(0).random((2, 16, 16), np.float32)
    images = pipeline.pictures(2, 32)  # The filter's own size: a resized photo differs by levels.
    sizes = np.full((2, 2), 32, np.int32)
    upsample = jax.jit(guided_upsampling, static_argnums=(3, 4))
    ours = upsample(rough, images, sizes, config.guided_radius, config.guided_epsilon)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    theirs = TorchPipeline(networks, config).upsample(torch.from_numpy(rough), pixels)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.ptp(ours) > 0.2


def test_settings_that_it_does_not_cover_are_refused(tiny):
    networks, config, _ = tiny
    with pytest.raises(ConfigError, match="negative_rule"):
        TorchPipeline(networks, dataclasses.replace(config, negative_rule="none"))


def test_the_line_skips_good_parts(tiny, capsys):
    networks, config, text = tiny
    config = dataclasses.replace(config, clip_image_size=64, clip_more_sizes=())
    images = pipeline.pictures(4, 64)
    good, bad, apart = line.apart(networks, images, text, config)
    option = dataclasses.replace(apart, refine_at_a_time=1)
    for image in (good, bad):
        given = (networks, image[None], text)
        with_option = pipeline.run_ours(*given, option)()[0]
        np.testing.assert_allclose(with_option, pipeline.run_ours(*given, apart)()[0], atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["pipeline", "--model", "x"], "--model is 'x'"),
        (["line", "--model", "x"], "--model is 'x'"),
        (["line", "--percents", "101"], "shares"),
    ],
)
def test_bad_input_is_one_sentence(capsys, given, message):
    assert benchmarks.main(given) == 2
    assert message in capsys.readouterr().err


def test_missing_peers_are_one_sentence(capsys, monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(benchmarks.tyro, "cli", missing)
    assert benchmarks.main(["line"]) == 2
    assert "pip install 'zsas_jax[test]'" in capsys.readouterr().err


def test_compilation_is_timed_with_an_empty_cache_and_with_a_full_one(tmp_path):
    output = tmp_path / "figures.json"
    arguments = ["compilation", "--model", "tiny", "--image-side", "64", "--repeats", "1"]
    assert benchmarks.main([*arguments, "--output", str(output)]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [row["cache"] for row in rows] == ["empty", "found"]
    assert all(row["tracing s"] > 0 and row["compiling or reading s"] > 0 for row in rows)
