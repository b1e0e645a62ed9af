"""Training samples and one step of every task on a pool of two pictures."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_sam import SMALL_SAM
from small_world import CLIP, save_clip

from zsas_jax.checkpoints.checkpoint import load, save
from zsas_jax.config import PipelineConfig
from zsas_jax.errors import ConfigError
from zsas_jax.networks.umci.config import UmciConfig
from zsas_jax.parts import text as prompts
from zsas_jax.parts.regions import mask_boxes
from zsas_jax.tasks import captions
from zsas_jax.tasks.networks import make_task
from zsas_jax.tasks.sam import sam_sample
from zsas_jax.training.augment import FOREIGN_PATCH
from zsas_jax.training.config import (
    ClipTaskConfig,
    DataConfig,
    SamTaskConfig,
    TrainConfig,
    UmciTaskConfig,
)
from zsas_jax.training.loop import train


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    return DataConfig(pictures=6, size=64, cache_dir=str(folder), workers=1)


def _config(task, data, **changes):
    settings = {
        "task": task,
        "steps": 2,
        "batch_size": 2,
        "clip": CLIP,
        "clip_task": ClipTaskConfig(text_steps=2, vocab_captions=200),
        "sam": SMALL_SAM,
        "umci": UmciConfig(width=8, text_dim=8, hidden_dim=8, layers=(1, 2)),
        "data": data,
        "pipeline": PipelineConfig(clip_image_size=32),
        "log_every": 1,
    }
    return TrainConfig(**{**settings, **changes})


def test_a_sam_from_a_clip_asks_for_one_before_pictures_are_rendered(tmp_path):
    data = DataConfig(pictures=6, size=64, cache_dir=str(tmp_path), workers=1)
    with pytest.raises(ConfigError, match="from_clip is set, but `init` has no CLIP"):
        make_task(_config("sam", data, sam_task=SamTaskConfig(from_clip=True)))
    assert not any(tmp_path.iterdir())


def test_every_task_trains_and_umci_takes_over_the_other_networks(data, tmp_path):
    saved = {}
    for name in ("clip", "sam"):
        config = _config(name, data)
        task = make_task(config)
        before = jax.device_get(jax.tree.leaves(task.params))
        saved[name] = train(config, task, tmp_path / name)
        after = jax.tree.leaves(nnx.state(getattr(load(saved[name]).model, name), nnx.Param))
        before = before[: len(after)]  # A CLIP is trained with its UMCI, whose name comes later.
        changed = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
        assert np.mean(changed) > 0.9
    stages = UmciTaskConfig(stage_weights=(0.5, 0.5))
    networks = (str(saved["clip"]), str(saved["sam"]))
    with pytest.raises(ConfigError, match="4 stage weights for a UMCI of 2 stages"):
        make_task(_config("umci", data, init=networks))
    other = dataclasses.replace(SMALL_SAM, depth=2)
    with pytest.raises(ConfigError, match=r"sam in the config has other sizes than in init"):
        make_task(_config("umci", data, init=networks, sam=other, umci_task=stages))
    config = _config("umci", data, init=networks, umci_task=stages)
    bundle = load(train(config, make_task(config), tmp_path / "umci"))
    assert bundle.config.clip == CLIP
    assert bundle.config.sam == SMALL_SAM
    assert bundle.tokenizer is not None
    # A SAM goes on at another size.
    larger = dataclasses.replace(SMALL_SAM, image_size=2 * SMALL_SAM.image_size)
    task = SamTaskConfig(view_size=larger.image_size)
    resized = make_task(_config("sam", data, init=networks, sam_task=task))
    exported = resized.export(resized.params)
    assert exported.model.sam.config == exported.config.sam == larger
    assert next(iter(resized.dataset))["image"].shape[1] == larger.image_size
    # The frozen networks are the trained ones, untouched.
    for name in ("clip", "sam"):
        frozen = jax.tree.leaves(getattr(load(saved[name]).model, name))
        for a, b in zip(frozen, jax.tree.leaves(getattr(bundle.model, name)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["clip", "sam"])
def test_networks_may_compute_in_bfloat16(name, data):
    values = {}
    for precision in ("float32", "bfloat16"):
        task = make_task(_config(name, data, precision=precision))
        batch = next(iter(task.dataset))
        arguments = (task.params, task.frozen, batch, jax.random.key(0))
        whole = jax.value_and_grad(task.loss, has_aux=True)
        shapes = jax.tree.leaves(jax.eval_shape(whole, *arguments))
        assert {leaf.dtype for leaf in shapes} == {np.dtype("float32")}
        values[precision] = float(jax.jit(task.loss)(*arguments)[0])
    assert values["float32"] == pytest.approx(values["bfloat16"], rel=0.03)
    assert values["float32"] != values["bfloat16"]


def test_umci_without_a_clip_is_one_sentence(data):
    with pytest.raises(ConfigError, match="needs a CLIP"):
        make_task(_config("umci", data))


def test_a_sam_that_starts_from_a_clip_needs_one(data):
    with pytest.raises(ConfigError, match="from_clip"):
        make_task(_config("sam", data, sam_task=SamTaskConfig(from_clip=True)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DataConfig(crop_min=1.5), "data.crop_min is 1.5: expected between 0 and 1"),
        (lambda: DataConfig(uneven_light=-0.1), "data.uneven_light is -0.1"),
        (lambda: DataConfig(noise=1.1), "data.noise is 1.1"),
        (lambda: DataConfig(glare=2.0), "data.glare is 2.0"),
        (lambda: DataConfig(foreign_ground=-1.0), "data.foreign_ground is -1.0"),
        (lambda: SamTaskConfig(box_exact=2.0), "sam_task.box_exact is 2.0"),
    ],
)
def test_shares_out_of_range_give_one_sentence(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_first_clicks_and_boxes_belong_to_their_targets():
    rng = np.random.default_rng(1)
    segments = np.zeros((64, 64), np.uint8)
    segments[8:40, 8:40] = 1
    mask = np.zeros((64, 64), np.float32)
    mask[20:30, 20:30] = 1
    segments[20:30, 20:30] = 2
    view = {"image": np.zeros((64, 64, 3), np.uint8), "mask": mask, "segments": segments}
    config = SamTaskConfig(prompts=6, points=9)
    sample = sam_sample(view, rng, config)
    assert sample["weight"].all()
    assert not sample["point_valid"][:, -1].any()  # kept free for the correction
    for row in range(6):
        target = sample["targets"][row] > 0
        valid = sample["point_valid"][row]
        x, y = sample["points"][row, valid].astype(int).T
        np.testing.assert_array_equal(target[y, x], sample["labels"][row, valid] == 1)
        rows, columns = np.nonzero(target)
        truth = [columns.min(), rows.min(), columns.max(), rows.max()]
        assert np.abs(sample["boxes"][row] - truth).max() <= 20 / 1024 * 64 + 1e-5
    areas = {int(target.sum()) for target in sample["targets"]}
    assert areas == {100, 32 * 32}


def view_of_an_object():
    """A square object without a defect, columns 16 to 47 of rows 8 to 39."""
    segments = np.zeros((64, 64), np.uint8)
    segments[8:40, 16:48] = 1
    return {
        "image": np.zeros((64, 64, 3), np.uint8),
        "mask": np.zeros((64, 64), np.float32),
        "segments": segments,
    }


def test_the_share_of_single_clicks_is_as_the_config_says():
    view = view_of_an_object()

    def clicks(share: float) -> np.ndarray:
        config = SamTaskConfig(prompts=200, points=9, single_click=share)
        sample = sam_sample(view, np.random.default_rng(0), config)
        assert (sample["labels"] * sample["point_valid"]).any(1).all()
        return sample["point_valid"].sum(1)

    assert (clicks(1.0) == 1).all()
    # Without: one click of four numbers of clicks, and no negative one of five numbers.
    assert (clicks(0.0) == 1).mean() == pytest.approx(1 / 20, abs=0.05)
    assert (clicks(0.5) == 1).mean() == pytest.approx(0.525, abs=0.1)


def test_boxes_are_as_far_off_as_the_config_says():
    view = view_of_an_object()
    config = SamTaskConfig(prompts=200, box_noise=0.5, box_shift=0.1, box_exact=0.25)
    boxes = sam_sample(view, np.random.default_rng(0), config)["boxes"]
    shift = np.abs(boxes - np.array([16, 8, 47, 39], np.float32))
    assert shift.max() == pytest.approx(6.4, abs=1e-4)
    assert (shift.max(1) == 0).mean() == pytest.approx(0.25, abs=0.1)


def test_exact_boxes_are_those_of_the_pipeline():
    whole = np.ones((64, 64), np.uint8)
    for view in (view_of_an_object(), {**view_of_an_object(), "segments": whole}):
        sample = sam_sample(view, np.random.default_rng(0), SamTaskConfig(prompts=3, box_exact=1.0))
        boxes, _ = mask_boxes(jnp.asarray(sample["targets"] > 0))
        np.testing.assert_array_equal(sample["boxes"], boxes)
    # Noise does not leave the picture, whose last pixel is 63.
    config = SamTaskConfig(prompts=50, box_noise=0.5, box_shift=0.5)
    boxes = sam_sample({**view_of_an_object(), "segments": whole}, np.random.default_rng(0), config)
    assert boxes["boxes"].max() == 63


def test_a_picture_without_targets_has_no_weight():
    view = {
        "image": np.zeros((32, 32, 3), np.uint8),
        "mask": np.zeros((32, 32), np.float32),
        "segments": np.zeros((32, 32), np.uint8),
    }
    sample = sam_sample(view, np.random.default_rng(0), SamTaskConfig())
    assert not sample["weight"].any()


def test_sentences_of_a_class_come_normal_first():
    rng = np.random.default_rng(0)
    states = prompts.NORMAL_STATES, prompts.ABNORMAL_STATES
    for defect in ("good", "scratch", FOREIGN_PATCH):
        _, *pair = captions.for_training(rng, "gear", defect, unknown_word=0.0)
        for sentence, own, other in zip(pair, states, states[::-1], strict=True):
            phrases = [{state.format("gear") for state in each} for each in (own, other)]
            assert any(phrase in sentence for phrase in phrases[0])
            longest = max((p for p in phrases[0] | phrases[1] if p in sentence), key=len)
            assert longest in phrases[0]


def test_labels_say_which_pictures_are_anomalous(data):
    batches = iter(make_task(_config("clip", data)).dataset)
    seen = set()
    for _ in range(12):
        batch = next(batches)
        for mask, label in zip(batch["mask"], batch["label"], strict=True):
            assert label or not mask.any()
            seen.add(int(label))
    assert seen == {0, 1}


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        (
            "umci",
            {"pipeline": PipelineConfig(clip_image_size=36)},
            r"pipeline.clip_image_size is \(36, 36\): .* patch size 8, like 32 or 40",
        ),
        (
            "clip",
            {"clip_task": ClipTaskConfig(view_size=36)},
            r"clip_task.view_size is \(36, 36\): .* 8",
        ),
        (
            "umci",
            {"umci_task": UmciTaskConfig(stage_weights=(1.0, 1.0), calibration_per_class=2)},
            "calibration_per_class is set, but `init` has no SAM for pipeline.method 'cascade'",
        ),
        (
            "umci",
            {"pipeline": PipelineConfig(clip_image_size=32, umci_stages=3)},
            "umci_stages is 3: expected at most the 2 stages",
        ),
    ],
)
def test_what_would_fail_later_is_refused_before_pictures_are_rendered(
    tmp_path, task, changes, message
):
    data = DataConfig(pictures=6, size=64, cache_dir=str(tmp_path / "pool"), workers=1)
    settings = {"umci_task": UmciTaskConfig(stage_weights=(1.0, 1.0)), **changes}
    if task == "umci":
        settings |= {"init": (str(save_clip(tmp_path / "clip")),), "clip": None, "sam": None}
    else:
        del settings["umci_task"]
    with pytest.raises(ConfigError, match=message):
        make_task(_config(task, data, **settings))
    assert not (tmp_path / "pool").exists()


def test_a_clip_is_not_given_the_vocabulary_of_another(data, tmp_path):
    first = save_clip(tmp_path / "first")
    bundle = load(first)
    second = save(tmp_path / "second", bundle._replace(tokenizer=None))
    for task in ("umci", "clip"):
        config = _config(task, data, init=(str(first), str(second)), clip=None, sam=None)
        with pytest.raises(ConfigError, match="CLIP of `init` has no tokenizer"):
            make_task(config)


def test_training_sentences_never_name_held_out_classes_or_defects():
    from zsas_jax.data import synthetic

    text = " ".join(captions.corpus(3000, seed=0))
    held_out = {*synthetic.EVAL_CLASSES, *synthetic.EVAL_DEFECTS}
    named = [name for name in held_out if name.replace("_", " ") in text]
    assert named == []
