"""The procedural generator: determinism, exact masks, splits that never meet, clear errors."""

import importlib

import numpy as np
import pytest

from zsas_jax.data import synthetic
from zsas_jax.data.synthetic import (
    baseline,
    camera,
    classes,
    defects,
    held_out_defects,
    made_up,
    noise,
    objects,
    source,
    splits,
)
from zsas_jax.data.synthetic.camera import mostly_covered
from zsas_jax.data.synthetic.render import render
from zsas_jax.data.synthetic.scene import Scene, Studio
from zsas_jax.errors import ConfigError, DatasetError

render_module = importlib.import_module("zsas_jax.data.synthetic.render")
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


@pytest.mark.parametrize(("split", "name"), ALL)
def test_every_class_draws_a_good_and_a_bad_picture(split, name):
    kinds = classes.CLASSES[split][name].defects
    good = render(name, 3, split=split)
    assert good.defect == "good"
    assert not good.mask.any()
    assert good.image.dtype == np.uint8
    assert good.image.shape == (256, 256, 3)
    assert 8 < good.image.mean() < 247
    bad = render(name, 3, defect=kinds[3 % len(kinds)], split=split)
    assert bad.mask.dtype == bool
    assert bad.mask.any()
    assert bad.segments.dtype == np.int32
    # The defect is the last and topmost segment, and exactly the mask.
    assert np.array_equal(bad.segments == bad.segments.max(), bad.mask)
    outside = ~bad.mask
    assert np.array_equal(bad.segments[outside], good.segments[outside])


@pytest.mark.parametrize(
    ("split", "defect"), [(s, d) for s, table in classes.DEFECTS.items() for d in table]
)
def test_every_defect_changes_what_its_mask_says(split, defect, monkeypatch):
    """Without blur, noise and JPEG, the pictures with and without differ in the mask alone."""
    from zsas_jax.data.synthetic import camera

    names = [n for n, spec in classes.CLASSES[split].items() if defect in spec.defects]
    assert names, f"no class of the {split} split has {defect}"
    plain = camera.Camera.photo

    def sharp(self, rgb):
        self.blur, self.noise, self.jpeg, self.low_resolution = 0.0, 0.0, None, 1.0
        return plain(self, rgb)

    monkeypatch.setattr(camera.Camera, "photo", sharp)
    for k in range(3):
        name = names[k % len(names)]
        good = render(name, 40 + k, split=split)
        bad = render(name, 40 + k, defect=defect, split=split)
        assert bad.mask.sum() >= 12
        assert bad.mask.mean() <= 0.5
        change = difference(good.image, bad.image)
        assert change[bad.mask].mean() > 4
        assert change[bad.mask].mean() > 8 * change[~bad.mask].mean()
        grown = noise_margin(bad.mask, 4)
        # Soft borders and shadows under strands stay close to the mask.
        assert (change[~grown] > 40).mean() < 0.002


@pytest.mark.parametrize("name", ["gasket", "hazelnut", "candle"])
def test_a_displaced_part_leaves_a_print_and_what_it_encloses_is_no_defect(name):
    for seed in range(4):
        studio = Studio(np.random.default_rng(seed), "eval", 256)
        scene = classes.CLASSES["eval"][name].draw(studio)
        moved, cover = held_out_defects.displaced_part(scene, np.random.default_rng(seed), 0.3, 0.3)
        change = np.abs(moved - scene.rgb).max(-1)
        assert (change[cover > 0.5] > 0.02).mean() > 0.75
        part = max(scene.parts, key=lambda part: change[part.window][part.alpha > 0.9].mean())
        unlike = np.abs(moved[part.window] - part.under).max(-1) > 0.03
        assert unlike[part.alpha > 0.9].mean() > 0.85


def noise_margin(mask: np.ndarray, pixels: int) -> np.ndarray:
    from scipy import ndimage

    return ndimage.binary_dilation(mask, iterations=pixels)


def test_same_arguments_same_pixels_and_other_seeds_other_pixels():
    first = render("wood", 5, defect="scratch")
    again = render("wood", 5, defect="scratch")
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert first.caption == again.caption
    assert difference(first.image, render("wood", 6, defect="scratch").image).mean() > 3


@pytest.mark.parametrize(("split", "name", "defect", "levels"), PIXELS)
def test_pixels_are_the_same_on_every_machine(split, name, defect, levels):
    """Levels that change only when the generator is changed on purpose: then GENERATOR_VERSION."""
    image = render(name, 1, defect=defect, split=split).image
    coarse = image.reshape(2, 128, 2, 128, 3).mean((1, 3))
    np.testing.assert_allclose(coarse.ravel(), levels, atol=0.3)


def test_holes_through_a_part_are_none_of_it():
    for name, seed in (("metal_nut", 4), ("gear", 3), ("bracket", 2)):
        scene = classes.CLASSES["train"][name].draw(
            Studio(np.random.default_rng(seed), "train", 256)
        )
        hollow = (scene.solid < 0.3) & (scene.segments > 0)
        assert hollow.mean() < 0.002, name


def test_a_displaced_part_of_a_screw_leaves_none_behind():
    studio = Studio(np.random.default_rng(0), "eval", 256)
    scene = classes.CLASSES["eval"]["screw"].draw(studio)
    for part in scene.parts:
        assert np.abs(part.over - part.under)[part.alpha > 0.9].mean() > 0.02


def test_the_best_attempt_is_taken_where_none_shows(monkeypatch):
    """One in the middle changes the picture most, and none enough."""
    changes = iter([0.02, 0.04, 0.055, 0.03, *[0.02] * 30])

    def faint(scene, rng, size, severity):
        cover = np.zeros_like(scene.solid)
        cover[100:140, 100:140] = 1
        return scene.rgb + cover[..., None] * np.float32(next(changes)), cover

    monkeypatch.setitem(classes.DEFECTS["train"], "stain", faint)
    monkeypatch.setattr(camera.Camera, "photo", lambda self, rgb: rgb)
    change = render("paper", 3, defect="stain").image - render("paper", 3, defect="good").image
    assert np.abs(change).max() == pytest.approx(0.055, abs=1e-4)


@pytest.mark.parametrize(
    ("split", "name", "defect"),
    [
        ("train", "fabric", "stain"),
        ("train", "metal_nut", "hole"),
        ("train", "metal_nut", "chip"),
        ("train", "brush", "stain"),
        ("eval", "terrazzo", "blowholes"),
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


@pytest.mark.parametrize("size", [32, 97, 300])
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


def test_training_defects_are_as_large_as_those_of_the_evaluation():
    """With small ones alone, a network ignores what takes in much of a picture."""
    areas = {}
    for defect in ("uncoated", "burn", "ripple"):
        names = [n for n, spec in classes.CLASSES["train"].items() if defect in spec.defects]
        shares = [render(name, 7, defect=defect, size=64).mask.mean() for name in names[:16]]
        areas[defect] = np.quantile(shares, 0.8)
    assert areas["uncoated"] > 0.15
    assert min(areas.values()) > 0.05, areas


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


def test_zones_of_made_up_objects_stay_on_them_and_hold_their_own_material():
    covered = []
    for seed in range(30):
        s = Studio(np.random.default_rng(seed), "train", 256)
        scene = Scene(s, np.full(3, 0.5, np.float32), is_object=True)
        zones = made_up._zones(s)
        stamp = scene.stamp(0.5, 0.5, 0.3, reach=1.3)
        distance = np.maximum(np.abs(stamp.u), np.abs(stamp.v)) - 0.9
        zones(scene, stamp, distance.astype(np.float32))
        changed = np.abs(scene.rgb[stamp.window] - 0.5).max(-1) > 0.02
        assert not changed[distance > 0.02].any()
        covered.append((scene.segments > 0).mean() / (distance <= 0).mean())
    covered = np.array(covered)
    assert 0.3 < (covered == 0).mean() < 0.7  # Half of the objects are of one material.
    assert np.quantile(covered, 0.9) > 0.1


def test_what_went_missing_leaves_its_seat_unless_many_like_it_are_left():
    """Else nobody, and no network, can tell a part without it from a plain one."""

    def marked(count: int) -> np.ndarray:
        s = Studio(np.random.default_rng(0), "train", 128)
        scene = Scene(s, np.full(3, 0.5, np.float32), is_object=True)
        body = scene.stamp(0.5, 0.5, 0.45)
        scene.paste(body, np.ones_like(body.u), np.full(3, 0.5, np.float32))
        for k in range(count):
            mark = scene.stamp(0.2 + 0.6 * k / max(count - 1, 1), 0.5, 0.06)
            scene.paste(mark, (np.hypot(mark.u, mark.v) < 1) * 1.0, np.ones(3), part=True)
        traces = []
        for seed in range(20):
            rgb, cover = defects.missing_part(scene, np.random.default_rng(seed), 0.1, 0.5)
            assert 0.5 < cover.sum() / (np.pi * (0.06 * 128) ** 2) < 1.5
            traces.append(np.abs(rgb[cover > 0.5] - 0.5).max())
        return np.array(traces)

    assert (marked(1) > 0.05).all()
    bare = marked(5) < 1e-6
    assert bare.any()
    assert not bare.all()


def test_below_a_capsules_cap_lies_the_table(monkeypatch):
    monkeypatch.setattr(objects, "finish", lambda s, scene: scene)  # No shadow on the table.
    scene = objects.capsule(Studio(np.random.default_rng(1), "train", 256))
    part = scene.parts[0]
    same = np.abs(part.under - scene.backdrop[part.window]).max(-1) < 1e-6
    covered = part.alpha > 0.99
    assert (same & covered).sum() > 0.5 * covered.sum()


def test_limbs_of_made_up_objects_sit_on_all_four_sides():
    sides, rows = set(), 0
    for seed in range(40):
        limbs = made_up._limbs(Studio(np.random.default_rng(seed), "train", 32))
        sides |= {round(np.arctan2(limb.across, limb.along) / (np.pi / 2)) % 4 for limb in limbs}
        rows += len(limbs) > 4
        assert all(limb.extent < 3 for limb in limbs)
    assert sides == {0, 1, 2, 3}
    assert rows > 5


def test_ribs_of_made_up_objects_are_no_steeper_than_drawn():
    ribbed = 0
    for seed in range(30):
        s = Studio(np.random.default_rng(seed), "train", 256)
        st = Scene(s, np.zeros(3)).stamp(0.5, 0.5, 0.4)
        height = np.zeros_like(st.u) + made_up._relief(s)(st)
        assert np.abs(height).max() <= 1 / (2 * np.pi * 3)
        ribbed += bool(height.any())
    assert 8 <= ribbed <= 25


def test_enough_made_up_parts_have_something_that_can_go_missing():
    """Else a long training pool would stop at a defect that no seed can draw."""
    seeds = range(60)
    able = sum(
        bool(made_up.part(Studio(np.random.default_rng(k), "train", 64)).parts) for k in seeds
    )
    assert (1 - able / len(seeds)) ** source._ATTEMPTS < 1e-5


def test_captions_name_training_things_alone_and_state_the_state():
    held_out = [n.replace("_", " ") for n in (*synthetic.EVAL_CLASSES, *synthetic.EVAL_DEFECTS)]
    source = synthetic.TrainingSource(seed=1, length=60, size=32)
    for item in (source[k] for k in range(60)):
        assert item["class_name"].replace("_", " ") in item["caption"]
        assert not any(word in item["caption"] for word in held_out)
    text = list(synthetic.all_captions_vocabulary())
    assert len(text) > 1000
    joined = " ".join(text)
    for word in ("leather", "scratch", "flawless", "damaged", "without defect", "wrinkled"):
        assert word in joined
    assert "{" not in joined


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
    items = [source[k] for k in range(80)]
    labels = [i["label"] for i in items]
    assert 24 <= sum(labels) <= 56
    assert all(bool(i["label"]) == bool(i["mask"].any()) for i in items)
    assert len({i["class_name"] for i in items}) > 15
    other = synthetic.TrainingSource(seed=4, length=400, size=32)[17]
    assert not np.array_equal(item["image"], other["image"])
    with pytest.raises(IndexError):
        source[400]


def test_evaluation_source_gives_records():
    source = synthetic.SyntheticSource(
        seed=2, per_class=6, size=64, classes=("terrazzo", "knitted wool")
    )
    assert len(source) == 12
    assert source.has_masks
    assert source.categories == ("terrazzo", "knitted wool")
    records = [source[k] for k in range(12)]
    assert sum(r["label"] for r in records) == 6
    assert len({r["name"] for r in records}) == 12
    for r in records:
        assert set(r) == {"image", "mask", "name", "category", "defect", "label"}
        folder, defect, file = r["name"].split("/")
        assert folder.replace("_", " ") == r["category"]
        assert defect == r["defect"]
        assert file.endswith(".png")
        assert r["mask"].any() == (r["label"] == 1)
    same = synthetic.SyntheticSource(seed=2, per_class=6, size=64, classes=("terrazzo",))[4]
    assert np.array_equal(same["image"], records[4]["image"])
    other = synthetic.SyntheticSource(seed=3, per_class=6, size=64, classes=("terrazzo",))[4]
    assert not np.array_equal(other["image"], records[4]["image"])
    assert not [
        r for r in synthetic.SyntheticSource(anomaly_fraction=0, per_class=2, size=32) if r["label"]
    ][:1]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
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
def test_bad_parameters_give_one_sentence(call, kind, words):
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert words in message
    assert "expected" in message
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
