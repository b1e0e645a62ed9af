"""The procedural generator: determinism, exact masks, splits that never meet, clear errors."""

import numpy as np
import pytest
from scipy import ndimage

from zsas_jax.data import synthetic
from zsas_jax.data.phrases import words
from zsas_jax.data.synthetic import baseline, camera, classes, noise, splits
from zsas_jax.data.synthetic.camera import mostly_covered
from zsas_jax.data.synthetic.render import render
from zsas_jax.errors import ConfigError, DatasetError

ALL = [(split, name) for split, specs in classes.CLASSES.items() for name in specs]

# Mean levels of the four quarters of a picture, R, G and B.
PIXELS = [
    (
        "eval",
        "terrazzo",
        "cut",
        [137.9, 133.3, 149.8, 157.3, 153.6, 170.7, 133.7, 128.8, 144.9, 144.0, 140.9, 156.0],
    ),
    (
        "eval",
        "screw",
        "good",
        [99.7, 103.4, 105.0, 98.2, 102.0, 105.4, 96.7, 100.2, 102.5, 110.0, 114.3, 116.3],
    ),
    (
        "train",
        "leather",
        "stain",
        [74.4, 66.0, 57.6, 61.0, 54.1, 47.4, 81.1, 71.7, 62.4, 71.8, 63.5, 55.6],
    ),
    (
        "train",
        "circuit_board",
        "scratch",
        [87.4, 87.4, 87.4, 93.8, 93.8, 93.8, 88.5, 88.5, 88.5, 87.8, 87.8, 87.8],
    ),
]


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(int) - b.astype(int)).max(-1)


def every_class_and_defect():
    """A defect of every class, chosen so that every defect has its turn."""
    for split, specs in classes.CLASSES.items():
        left = list(classes.DEFECTS[split])
        for name, spec in specs.items():
            kind = min(spec.defects, key=lambda kind: (kind not in left, kind))
            left = [other for other in left if other != kind]
            yield split, name, kind
        assert not left, left


@pytest.mark.parametrize(("split", "name", "defect"), every_class_and_defect())
def test_a_defect_changes_what_its_mask_says(split, name, defect, monkeypatch):
    """Without blur, noise and JPEG, the pictures with and without differ in the mask alone."""
    plain = camera.Camera.photo

    def sharp(self, rgb):
        self.blur, self.noise, self.jpeg, self.low_resolution = 0.0, 0.0, None, 1.0
        return plain(self, rgb)

    monkeypatch.setattr(camera.Camera, "photo", sharp)
    good, bad = (render(name, 3, defect=kind, split=split) for kind in ("good", defect))
    assert good.defect == "good"
    assert not good.mask.any()
    assert good.image.dtype == np.uint8
    assert good.image.shape == (256, 256, 3)
    assert 8 < good.image.mean() < 247
    assert bad.mask.dtype == bool
    assert bad.segments.dtype == np.int32
    assert bad.mask.sum() >= 12
    assert bad.mask.mean() <= 0.5
    # The defect is the last and topmost segment, and exactly the mask.
    assert np.array_equal(bad.segments == bad.segments.max(), bad.mask)
    assert np.array_equal(bad.segments[~bad.mask], good.segments[~bad.mask])
    change = difference(good.image, bad.image)
    assert change[bad.mask].mean() > 4
    assert change[bad.mask].mean() > 8 * change[~bad.mask].mean()
    # Soft borders and shadows under strands stay close to the mask.
    far = ~ndimage.binary_dilation(bad.mask, iterations=4)
    assert (change[far] > 40).mean() < 0.002


def test_same_arguments_same_pixels_and_other_seeds_other_pixels():
    first = render("wood", 5, defect="scratch")
    again = render("wood", 5, defect="scratch")
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert first.caption == again.caption
    assert difference(first.image, render("wood", 6, defect="scratch").image).mean() > 3


@pytest.mark.parametrize(("split", "name", "defect", "levels"), PIXELS)
def test_pixels_are_the_same_on_every_machine(split, name, defect, levels):
    """Levels that change only when the generator is changed on purpose: then synthetic.VERSION."""
    image = render(name, 1, defect=defect, split=split).image
    coarse = image.reshape(2, 128, 2, 128, 3).mean((1, 3))
    np.testing.assert_allclose(coarse.ravel(), levels, atol=0.3)


@pytest.mark.parametrize(
    ("split", "name", "defect"),
    [
        ("train", "fabric", "stain"),
        ("eval", "screw", "corrosion"),
    ],
)
def test_one_seed_is_one_picture_at_every_resolution(split, name, defect):
    small = render(name, 11, defect=defect, split=split)
    large = render(name, 11, defect=defect, size=512, split=split)
    reduced = large.image.reshape(256, 2, 256, 2, 3).mean((1, 3))
    a = noise_blocks(small.image.astype(float))
    b = noise_blocks(reduced)
    assert np.abs(a - b).mean() < 6
    overlap = large.mask.reshape(256, 2, 256, 2).mean((1, 3)) > 0.5
    union = (overlap | small.mask).sum()
    assert (overlap & small.mask).sum() / union > 0.6


def noise_blocks(image: np.ndarray) -> np.ndarray:
    return image.reshape(32, 8, 32, 8, 3).mean((1, 3))


@pytest.mark.parametrize("size", [32, 97])
def test_odd_sizes(size):
    sample = render("capsule", 2, defect="missing_part", size=size)
    assert sample.image.shape == (size, size, 3)
    assert sample.mask.shape == sample.segments.shape == (size, size)
    assert sample.mask.any()


def test_splits_never_meet():
    assert not set(synthetic.TRAIN_CLASSES) & set(synthetic.EVAL_CLASSES)
    assert not set(synthetic.TRAIN_DEFECTS) & set(synthetic.EVAL_DEFECTS)
    assert len(synthetic.TRAIN_CLASSES) >= 20
    assert len(synthetic.EVAL_CLASSES) >= 12
    for split, names in (("train", splits.TRAIN_DEFECTS), ("eval", splits.EVAL_DEFECTS)):
        assert set(classes.DEFECTS[split]) == set(names)
        used = {d for spec in classes.CLASSES[split].values() for d in spec.defects}
        assert used == set(names)
    drawers = [{spec.draw for spec in specs.values()} for specs in classes.CLASSES.values()]
    assert not drawers[0] & drawers[1]
    assert not set(classes.DEFECTS["train"].values()) & set(classes.DEFECTS["eval"].values())


def test_parameter_bands_never_meet_and_draws_stay_inside():
    rng = np.random.default_rng(0)
    for name, bands in splits.RANGES.items():
        for a, b in bands.train:
            for c, d in bands.eval:
                assert b <= c or d <= a, name
        for split in splits.SPLITS:
            for limits in ((), (20.0, 50.0), (0.07, 0.2), (1000.0, 2000.0)):
                for _ in range(50):
                    value = splits.draw_value(rng, split, name, *limits)
                    assert any(a <= value <= b for a, b in getattr(bands, split)), (name, value)


def test_every_draw_of_a_banded_parameter_respects_its_split(monkeypatch):
    """Records what whole renders draw: training and evaluation values are far apart everywhere."""
    seen: dict[str, dict[str, list[float]]] = {"train": {}, "eval": {}}
    real = splits.draw_value

    def spy(rng, split, name, low=-np.inf, high=np.inf):
        value = real(rng, split, name, low, high)
        seen[split].setdefault(name, []).append(value)
        return value

    monkeypatch.setattr(splits, "draw_value", spy)
    for split, name in ALL:
        render(name, 1, split=split, size=64)
    for name, bands in splits.RANGES.items():
        for split, other in (("train", bands.eval), ("eval", bands.train)):
            assert seen[split].get(name), (split, name)
            assert not any(a < v < b for v in seen[split][name] for a, b in other)


def test_segments_hold_objects_and_parts():
    sample = render("metal_nut", 4)
    assert sample.segments.max() >= 2
    assert (sample.segments == 0).any()
    assert render("terrazzo", 4, split="eval").segments.max() > 50


def test_captions_name_training_things_alone_and_state_the_state():
    held_out = [words(name) for name in (*synthetic.EVAL_CLASSES, *synthetic.EVAL_DEFECTS)]
    rng = np.random.default_rng(0)
    for name, spec in classes.CLASSES["train"].items():
        good = [synthetic.caption(rng, name, None) for _ in range(10)]
        bad = [synthetic.caption(rng, name, defect) for defect in spec.defects]
        assert not set(good) & set(bad)
        for text in good + bad:
            assert words(name) in text
            assert "{" not in text
            assert not any(word in text for word in held_out)


def test_training_source_is_random_access_and_balanced():
    source = synthetic.TrainingSource(seed=3, length=400, size=32)
    assert len(source) == 400
    item = source[17]
    assert set(item) == {
        "image",
        "mask",
        "segments",
        "caption",
        "class_name",
        "defect",
        "label",
    }
    again = synthetic.TrainingSource(seed=3, length=400, size=32)[17]
    assert np.array_equal(item["image"], again["image"])
    items = [source[k] for k in range(16)]
    labels = [i["label"] for i in items]
    assert 3 <= sum(labels) <= 13
    assert all(bool(i["label"]) == bool(i["mask"].any()) for i in items)
    assert len({i["class_name"] for i in items}) > 5
    other = synthetic.TrainingSource(seed=4, length=400, size=32)[17]
    assert not np.array_equal(item["image"], other["image"])
    with pytest.raises(IndexError):
        source[400]


def test_evaluation_source_gives_records():
    source = synthetic.SyntheticSource(
        seed=2, per_class=4, size=32, classes=("terrazzo", "knitted wool")
    )
    assert len(source) == 8
    assert source.has_masks
    assert source.categories == ("terrazzo", "knitted wool")
    records = [source[k] for k in range(8)]
    assert sum(r["label"] for r in records) == 4
    assert len({r["name"] for r in records}) == 8
    for r in records:
        assert set(r) == {"image", "mask", "name", "category", "defect", "label"}
        folder, defect, file = r["name"].split("/")
        assert folder.replace("_", " ") == r["category"]
        assert defect == r["defect"]
        assert file.endswith(".png")
        assert r["mask"].any() == (r["label"] == 1)
    same = synthetic.SyntheticSource(seed=2, per_class=4, size=32, classes=("terrazzo",))[2]
    assert np.array_equal(same["image"], records[2]["image"])
    other = synthetic.SyntheticSource(seed=3, per_class=4, size=32, classes=("terrazzo",))[2]
    assert not np.array_equal(other["image"], records[2]["image"])
    good = synthetic.SyntheticSource(anomaly_fraction=0, per_class=2)
    assert {good.describe(index)[1] for index in range(len(good))} == {"good"}


@pytest.mark.parametrize(
    ("call", "kind", "found"),
    [
        (lambda: render("nothing", 0), DatasetError, "nothing"),
        (lambda: render("terrazzo", 0), DatasetError, "terrazzo"),
        (lambda: render("wood", 0, defect="cut"), DatasetError, "cut"),
        (lambda: render("wood", 0, split="test"), ConfigError, "test"),
        (lambda: render("wood", 0, size=16), ConfigError, "32"),
        (lambda: render("wood", -1), ConfigError, "-1"),
        (lambda: synthetic.SyntheticSource(size=31), ConfigError, "32"),
        (lambda: synthetic.SyntheticSource(anomaly_fraction=1.5), ConfigError, "1.5"),
        (lambda: synthetic.SyntheticSource(per_class=0), ConfigError, "per_class"),
        (lambda: synthetic.SyntheticSource(classes=("wood",)), DatasetError, "wood"),
        (lambda: synthetic.SyntheticSource("test"), ConfigError, "test"),
        (lambda: synthetic.TrainingSource(length=0), ConfigError, "length"),
        (lambda: synthetic.TrainingSource(size=8), ConfigError, "32"),
    ],
)
def test_bad_parameters_give_one_sentence(call, kind, found):
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert found in message
    assert ": expected" in message
    assert "\n" not in message


def test_noise_has_unit_variance_at_every_size():
    rng = np.random.default_rng(0)
    for size in (64, 256, 400):
        for cells in (8, 40):
            assert 0.75 < noise.sheet(rng, size, cells).std() < 1.25
    assert 0.75 < noise.fbm(rng, 256, 16).std() < 1.25


def test_average_precision_and_auroc_of_the_baseline_by_hand():
    truth = np.array([1, 0, 1, 0], bool)
    auroc, ap = baseline.auroc_and_ap(np.array([0.9, 0.8, 0.7, 0.1]), truth)
    assert auroc == pytest.approx(0.75)
    assert ap == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@pytest.mark.full
def test_local_contrast_does_not_find_the_defects():
    """The baseline that learns nothing stays below AUROC 0.80 and AP 0.20."""
    source = synthetic.SyntheticSource(seed=0, per_class=5, anomaly_fraction=1.0)
    auroc, ap = baseline.mean_scores(baseline.baseline_scores(source))
    assert auroc < 0.80
    assert ap < 0.20


def test_a_cover_that_leaves_the_photo_leaves_no_mask():
    assert not mostly_covered(np.zeros((8, 8), np.uint8)).any()
    thin = np.zeros((8, 8), np.uint8)
    thin[3], thin[4] = 40, 20
    assert np.array_equal(np.flatnonzero(mostly_covered(thin).any(1)), [3])
