"""SAM's training: targets, clicks and boxes of a picture, and the loss on known masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_world import SAM, small_pool

from zsas_jax.errors import ConfigError
from zsas_jax.networks.sam import MaskPrediction
from zsas_jax.ops import losses
from zsas_jax.parts.regions import mask_boxes
from zsas_jax.tasks import SamTask, make_task
from zsas_jax.tasks.sam import _correction, _score, sam_sample
from zsas_jax.training.config import TrainConfig


@pytest.mark.parametrize("changes", [{"points": 1}, {"prompts": 0}, {"box_exact": 2.0}])
def test_sam_needs_a_click_its_correction_and_a_target(changes):
    (name,) = changes
    with pytest.raises(ConfigError, match=f"task.{name} is"):
        SamTask(**changes)


def test_a_sam_from_a_clip_asks_for_one_before_pictures_are_rendered(tmp_path):
    task = SamTask(sizes=SAM, from_clip=True, data=small_pool(tmp_path / "pool"))
    with pytest.raises(ConfigError, match="from_clip is set, but `init` has no CLIP"):
        make_task(TrainConfig(task, steps=1))
    assert not (tmp_path / "pool").exists()


def test_first_clicks_and_boxes_belong_to_their_targets():
    rng = np.random.default_rng(1)
    segments = np.zeros((64, 64), np.uint8)
    segments[8:40, 8:40] = 1
    mask = np.zeros((64, 64), np.float32)
    mask[20:30, 20:30] = 1
    segments[20:30, 20:30] = 2
    view = {"image": np.zeros((64, 64, 3), np.uint8), "mask": mask, "segments": segments}
    config = SamTask(prompts=6, points=9)
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
        config = SamTask(prompts=200, points=9, single_click=share)
        sample = sam_sample(view, np.random.default_rng(0), config)
        assert (sample["labels"] * sample["point_valid"]).any(1).all()
        return sample["point_valid"].sum(1)

    assert (clicks(1.0) == 1).all()
    # Without: one click of four numbers of clicks, and no negative one of five numbers.
    assert (clicks(0.0) == 1).mean() == pytest.approx(1 / 20, abs=0.05)
    assert (clicks(0.5) == 1).mean() == pytest.approx(0.525, abs=0.1)


def test_boxes_are_as_far_off_as_the_config_says():
    view = view_of_an_object()
    config = SamTask(prompts=200, box_noise=0.5, box_shift=0.1, box_exact=0.25)
    boxes = sam_sample(view, np.random.default_rng(0), config)["boxes"]
    shift = np.abs(boxes - np.array([16, 8, 47, 39], np.float32))
    assert shift.max() == pytest.approx(6.4, abs=1e-4)
    assert (shift.max(1) == 0).mean() == pytest.approx(0.25, abs=0.1)


def test_exact_boxes_are_those_of_the_pipeline():
    whole = np.ones((64, 64), np.uint8)
    for view in (view_of_an_object(), {**view_of_an_object(), "segments": whole}):
        sample = sam_sample(view, np.random.default_rng(0), SamTask(prompts=3, box_exact=1.0))
        boxes, _ = mask_boxes(jnp.asarray(sample["targets"] > 0))
        np.testing.assert_array_equal(sample["boxes"], boxes)
    # Noise does not leave the picture, whose last pixel is 63.
    config = SamTask(prompts=50, box_noise=0.5, box_shift=0.5)
    boxes = sam_sample({**view_of_an_object(), "segments": whole}, np.random.default_rng(0), config)
    assert boxes["boxes"].max() == 63


def test_a_picture_without_targets_has_no_weight():
    view = {
        "image": np.zeros((32, 32, 3), np.uint8),
        "mask": np.zeros((32, 32), np.float32),
        "segments": np.zeros((32, 32), np.uint8),
    }
    sample = sam_sample(view, np.random.default_rng(0), SamTask())
    assert not sample["weight"].any()


@pytest.mark.parametrize("missing", [True, False])
def test_the_correction_is_a_wrong_pixel_with_its_true_label(missing):
    truth = np.zeros((1, 1, 6, 8), bool)
    truth[0, 0, 2:4, 2:5] = True
    predicted = truth.copy()
    y, x = (3, 4) if missing else (5, 1)
    predicted[0, 0, y, x] = not missing
    for seed in range(3):
        found = _correction(jax.random.key(seed), jnp.asarray(predicted), jnp.asarray(truth))
        assert [int(value[0, 0]) for value in found] == [x, y, int(missing)]


def test_the_best_mask_is_trained_and_every_quality():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(0, 3, (1, 3, 3, 8, 8)), jnp.float32)
    targets = jnp.asarray(rng.random((1, 3, 8, 8)) < 0.4, jnp.float32)
    believed = jnp.asarray([[[0.1, 0.9, 0.2], [0.8, 0.3, 0.1], [0.5, 0.5, 0.9]]])
    weight = jnp.asarray([[1.0, 1.0, 0.0]])
    config = SamTask(focal_weight=2.0, dice_weight=3.0, iou_weight=5.0)
    prediction = MaskPrediction(logits, believed)
    loss, best, mean_iou = _score(prediction, targets, weight, config)
    expected, ious = [], []
    for row, chosen in ((0, 1), (1, 0)):  # The third has no weight.
        np.testing.assert_array_equal(best[0, row], logits[0, row, chosen])
        each = [losses.mask_losses(logits[0, row, m], targets[0, row]) for m in range(3)]
        quality = np.mean([(believed[0, row, m] - each[m][2]) ** 2 for m in range(3)])
        expected.append(min(2 * focal + 3 * dice for focal, dice, _ in each) + 5 * quality)
        ious.append(each[chosen][2])
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)
    np.testing.assert_allclose(mean_iou, np.mean(ious), rtol=1e-5)
