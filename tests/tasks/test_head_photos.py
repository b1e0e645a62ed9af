"""A head on a miniature MVTec AD: cache, validation, resuming, what is saved and shown."""

import csv
import dataclasses
import json

import jax
import numpy as np
import pytest
from small_world import mvtec_tree, photo_run, save_clip, umci_task

from zsas_jax.checkpoints import load
from zsas_jax.checkpoints.provenance import trained_on
from zsas_jax.errors import CheckpointError, ConfigError
from zsas_jax.methods.heads.umci import UmciHead
from zsas_jax.methods.heads.umci_training import UmciTraining
from zsas_jax.tasks import make_task
from zsas_jax.training import loop
from zsas_jax.training.config import OptimizerConfig, PhotoSet

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    return save_clip(root / "clip"), mvtec_tree(root / "data"), root / "cache"


@pytest.fixture(scope="module")
def task(world):
    """One task for all runs: its parameters are NumPy arrays, which no run gives away."""
    task = make_task(photo_run(*world))
    return task._replace(params=jax.device_get(task.params))


def _leaves(model_dir):
    return jax.device_get(jax.tree.leaves(load(model_dir).model.umci))


def test_two_epochs_from_the_cache_are_validated_saved_and_resumed(
    world, task, tmp_path, monkeypatch
):
    optimizer = OptimizerConfig(learning_rate=1e-3, ema_decay=0.5, accumulation=2)
    config = photo_run(*world, optimizer=optimizer, keep="best")
    assert task.steps_per_epoch == 3  # 12 photos in batches of 4
    assert len(list(world[2].rglob("*.npy"))) == 18
    whole = loop.train(config, task, tmp_path / "whole")

    class StopAfterFour:
        count = 0
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731

        @property
        def asked(self):
            self.count += 1
            return self.count == 4

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_StopSignal", StopAfterFour)
        assert loop.train(config, task, tmp_path / "parts") is None
    resumed = loop.train(config, task, tmp_path / "parts", resume=True)
    assert whole is not None
    assert resumed is not None
    for a, b in zip(_leaves(whole), _leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)

    with (tmp_path / "whole" / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["epoch"]) for row in rows] == [("3", "1"), ("6", "2")]
    assert 0 <= float(rows[1]["pixel_ap"]) <= 1
    summary = json.loads((tmp_path / "whole" / "summary.json").read_text())
    best = max(rows, key=lambda row: float(row["pixel_ap"]))
    assert summary["best"]["step"] == int(best["step"])
    assert list((tmp_path / "whole" / "tensorboard").iterdir())
    # What is saved says where it comes from, and takes CLIP and its vocabulary over untouched.
    bundle, clip = load(whole), load(world[0])
    for a, b in zip(*(jax.tree.leaves(one.model.clip) for one in (bundle, clip)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert bundle.tokenizer(["a nut"]).tolist() == clip.tokenizer(["a nut"]).tolist()
    assert bundle.config.methods["umci"]["head"]["views"]["image_size"] == 32
    assert trained_on(whole) == ("mvtec",)
    # A checkpoint of another configuration is refused; nothing that is saved is lost.
    other = dataclasses.replace(config, batch_size=2)
    with pytest.raises(CheckpointError, match=r"batch_size differs.* was 4 and is 2 now"):
        loop.train(other, task, tmp_path / "whole", resume=True)
    assert load(whole).config == bundle.config


def test_the_cache_and_the_pixels_give_the_same_loss(world):
    losses = []
    for cached in (True, False):
        task = make_task(photo_run(*world, photos={"cache": cached}))
        batch = next(iter(task.dataset))
        assert ("features" in batch) == cached
        losses.append(float(jax.jit(task.loss)(task.params, task.frozen, batch, KEY)[0]))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)  # bfloat16 features


def test_with_random_augmentation_the_cache_is_off_and_the_log_says_so(world, tmp_path, caplog):
    caplog.set_level("INFO", "zsas_jax")
    photos = {"flip": 0.5, "mosaic": 0.5, "cache_dir": str(tmp_path)}
    task = make_task(photo_run(*world, photos=photos, precision="bfloat16"))
    assert "the feature cache is off (random augmentation)" in caplog.text
    assert list(tmp_path.iterdir()) == []
    batch = next(iter(task.dataset))
    assert batch["image"].shape == (4, 32, 32, 3)
    whole = jax.value_and_grad(task.loss, has_aux=True)
    shapes = jax.eval_shape(whole, task.params, task.frozen, batch, KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 36}, r"task.size has the size \(36, 36\): .* patch size 8, like 32 or 40"),
        ({"training": UmciTraining()}, "stage_weights has 4 numbers: .* the 1 stages"),
        ({"settings": UmciHead(stages=3)}, "head.stages is 3: expected at most the 1 stages"),
        ({"sizes": None}, "`init` has no umci"),
    ],
)
def test_what_would_fail_later_is_refused_before_features_are_computed(
    world, tmp_path, changes, message
):
    config = photo_run(*world[:2], tmp_path / "cache")
    task = dataclasses.replace(config.task, **changes)
    with pytest.raises(ConfigError, match=message):
        make_task(dataclasses.replace(config, task=task))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "umcy"}, "task.head is 'umcy': expected one that is trained"),
        ({"head": "similarity"}, "task.head is 'similarity'"),
        ({"settings": UmciTraining()}, "task.settings is a UmciTraining: expected UmciHead"),
        ({"unknown_word": 2.0}, "task.unknown_word is 2.0"),
    ],
)
def test_a_head_that_cannot_be_trained_is_one_sentence(changes, message):
    with pytest.raises(ConfigError, match=message):
        umci_task(**changes)


def test_batches_are_cut_and_epochs_validated_where_that_means_something():
    assert umci_task().mean_loss
    assert not umci_task(training=UmciTraining(loss="balanced")).mean_loss
    assert not umci_task(training=UmciTraining(dice_over="batch")).mean_loss
    assert umci_task(data=PhotoSet(name="mvtec")).validated
    assert not umci_task(data=PhotoSet(name="mvtec", held_out=0.0)).validated
    assert not umci_task().validated
