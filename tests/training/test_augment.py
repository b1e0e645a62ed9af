"""Random views of training pictures: what is pasted, what changes, and what counts as anomalous."""

import numpy as np
import pytest

from zsas_jax.errors import ConfigError
from zsas_jax.tasks import captions
from zsas_jax.training.augment import augment, is_good_surface
from zsas_jax.training.config import Generated


def grey_sample():
    """A good picture of one grey."""
    return {
        "image": np.full((64, 64, 3), 100, np.uint8),
        "mask": np.zeros((64, 64), bool),
        "segments": np.zeros((64, 64), np.uint8),
        "class_name": "wood",
        "defect": "good",
    }


def test_pasted_patches_are_anomalous_where_the_picture_changed():
    sample = grey_sample()
    config = Generated(full_picture=1.0, foreign_patch=1.0, grey=1.0)
    rng = np.random.default_rng(3)
    for side in (*[64] * 10, *[40] * 10):  # Also of a picture that is smaller than the view.
        other = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        view = augment(sample, rng, 64, config, other)
        background = view["image"][view["mask"] == 0]
        assert view["defect"] == "contrasting_patch"
        assert len(np.unique(background, axis=0)) == 1
        assert 0 < view["mask"].mean() < 0.9
        assert len(captions.for_training(rng, "wood", view["defect"], 0.0)) == 3


def test_patches_lie_on_the_objects_of_a_picture():
    segments = np.zeros((64, 64), np.uint8)
    segments[20:44, 10:30] = 1
    sample = {**grey_sample(), "segments": segments, "class_name": "part"}
    config = Generated(full_picture=1.0, foreign_patch=1.0, grey=1.0)
    rng = np.random.default_rng(3)
    other = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    views = [augment(sample, rng, 64, config, other) for _ in range(20)]
    for view in views:
        assert (view["mask"] > 0).any() == (view["defect"] == "contrasting_patch")
        assert (view["segments"][view["mask"] > 0] == 255).all()
        # Turned or flipped, the object keeps its 24 x 20 pixels.
        assert (view["segments"] > 0).sum() == 24 * 20
    assert sum(view["defect"] == "contrasting_patch" for view in views) > 15


def test_uneven_light_is_smooth_and_no_anomaly():
    sample = grey_sample()
    config = Generated(full_picture=1.0, grey=1.0, uneven_light=1.0)
    rng = np.random.default_rng(0)
    views = [augment(sample, rng, 128, config) for _ in range(40)]
    contrasts = []
    for view in views:
        assert view["defect"] == "good"
        assert not view["mask"].any()
        image = view["image"].astype(int)
        # Two steepest ramps at once change a pixel by about 3 % of the highest value.
        assert max(np.abs(np.diff(image, axis=axis)).max() for axis in (0, 1)) < 14
        contrasts.append(np.ptp(image) / image.mean())
    assert 0.2 < np.median(contrasts) < 0.8
    assert np.max(contrasts) > 0.6


def test_glare_is_at_the_rim_smooth_and_no_anomaly():
    config = Generated(full_picture=1.0, grey=1.0, glare=1.0)
    rng = np.random.default_rng(0)
    views = [augment(grey_sample(), rng, 128, config) for _ in range(40)]
    assert not any(view["mask"].any() for view in views)
    brightest, darkest = [], []
    for view in views:
        image = view["image"][..., 0].astype(int)
        assert max(np.abs(np.diff(image, axis=axis)).max() for axis in (0, 1)) < 14
        brightest.append(image.max() / np.median(image))
        darkest.append(image.min() / np.median(image))
        change = abs(image - np.median(image))
        row, column = np.unravel_index(change.argmax(), change.shape)
        if change.max() > 5:
            assert min(row, column, 127 - row, 127 - column) < 40
    assert max(brightest) > 1.5
    assert min(darkest) < 0.7


def test_objects_and_defects_are_laid_on_another_ground():
    segments = np.zeros((64, 64), np.uint8)
    segments[20:44, 10:30] = 1
    mask = np.zeros((64, 64), bool)
    mask[30:40, 15:25] = True
    image = np.where(mask[..., None], np.uint8(200), np.full((64, 64, 3), 100, np.uint8))
    sample = {**grey_sample(), "image": image, "mask": mask, "segments": segments, "defect": "hole"}
    config = Generated(full_picture=1.0, grey=1.0)
    checks = np.indices((64, 64)).sum(0) % 2 * np.uint8(40)
    ground = np.repeat(checks[..., None], 3, -1)
    rng = np.random.default_rng(3)
    for _ in range(10):
        view = augment(sample, rng, 64, config, ground=ground)
        inside = view["segments"] > 0
        assert view["defect"] == "hole"
        assert (view["mask"] > 0).sum() == 100
        # The object keeps its two levels but at its border, and the ground's checks surround it.
        core = inside & np.roll(inside, 2, 0) & np.roll(inside, -2, 0)
        core &= np.roll(inside, 2, 1) & np.roll(inside, -2, 1)
        assert len(np.unique(view["image"][core][:, 0])) == 2
        around = view["image"][~inside][:, 0].astype(int)
        assert around.std() > 3
    # Nothing to lay: the picture stays.
    view = augment(grey_sample(), rng, 64, config, ground=ground)
    assert np.ptp(view["image"][..., 0]) == 0


def test_grounds_are_good_surfaces():
    assert is_good_surface(grey_sample())
    assert not is_good_surface({**grey_sample(), "defect": "hole"})
    assert not is_good_surface({**grey_sample(), "segments": np.ones((64, 64), np.uint8)})


def test_noise_is_of_all_strengths_and_no_anomaly():
    config = Generated(full_picture=1.0, grey=1.0, noise=1.0)
    rng = np.random.default_rng(0)
    views = [augment(grey_sample(), rng, 64, config) for _ in range(40)]
    assert not any(view["mask"].any() for view in views)
    deviations = [view["image"].std((0, 1)) for view in views]
    assert np.min(deviations) < 3
    assert 10 < np.max(deviations) < 21
    noisy = [view["image"] for view in views if view["image"].std((0, 1)).min() > 5]
    alike = [np.corrcoef(image[..., 0].flat, image[..., 1].flat)[0, 1] > 0.9 for image in noisy]
    assert 0.2 < np.mean(alike) < 0.8  # Grey noise and coloured.


def test_crops_that_miss_the_defect_are_good():
    image = np.zeros((64, 64, 3), np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[:6, :6] = True
    sample = {
        "image": image,
        "mask": mask,
        "segments": mask.astype(np.uint8),
        "class_name": "wood",
        "defect": "hole",
    }
    config = Generated(full_picture=0.0, crop_min=0.3)
    rng = np.random.default_rng(0)
    views = [augment(sample, rng, 64, config) for _ in range(40)]
    for view in views:
        assert view["image"].shape == (64, 64, 3)
        assert (view["defect"] == "good") == (view["mask"].sum() < 0.75)
    assert {view["defect"] for view in views} == {"good", "hole"}


def test_stretched_crops_change_the_aspect_and_nothing_else():
    y, x = np.mgrid[:128, :128]
    disc = np.hypot(x - 64, y - 64) < 20
    sample = {
        "image": np.repeat(disc[..., None] * np.uint8(255), 3, -1),
        "mask": disc,
        "segments": disc.astype(np.uint8),
        "class_name": "wood",
        "defect": "hole",
    }

    def aspects(stretch: float) -> np.ndarray:
        config = Generated(full_picture=0.0, crop_min=0.8, stretch=stretch, grey=0.0)
        rng = np.random.default_rng(0)
        found = []
        for _ in range(40):
            mask = augment(sample, rng, 64, config)["mask"] > 0.5
            if mask.any() and not (mask[[0, -1]].any() or mask[:, [0, -1]].any()):
                found.append(mask.any(1).sum() / mask.any(0).sum())
        return np.array(found)

    square, stretched = aspects(1.0), aspects(3.0)
    assert len(square) > 20
    assert len(stretched) > 20
    assert (abs(np.log(square)) < 0.15).all()
    # The larger side cannot exceed the picture, so that a ratio of 3 gives less here.
    assert np.log(stretched).max() > 0.35
    assert np.log(stretched).min() < -0.35
    with pytest.raises(ConfigError, match="stretch"):
        Generated(stretch=0.5)
