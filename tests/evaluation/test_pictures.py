import itertools
import json

import numpy as np
import pytest
from PIL import Image
from toy_method import Source, red, run

from zsas_jax.evaluation.maps import save_map_png16, save_mask_png
from zsas_jax.evaluation.overlays import BOX, NEGATIVE, POSITIVE, RESULT, TRUTH, overlay
from zsas_jax.evaluation.pictures import Panel, masks_of, panels
from zsas_jax.evaluation.strips import Photo, Strips
from zsas_jax.methods.base import Boxes, Heat, Masks, Points
from zsas_jax.metrics import evaluate_maps
from zsas_jax.metrics.resolution import resize_map, resize_mask


def contains(picture, colour):
    return (np.abs(np.asarray(picture).astype(int) - colour).sum(-1) < 3).any()


@pytest.fixture
def photo():
    return np.full((60, 80, 3), 128, np.uint8)


@pytest.fixture
def square():
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:50] = True
    return mask


@pytest.fixture
def prompts():
    points = np.array([[[[40.0, 30.0], [10.0, 10.0], [70.0, 50.0]]]], np.float32)
    labels, valid = np.array([[[1, 0, 1]]]), np.array([[[True, True, False]]])
    boxes = np.array([[[28.0, 18.0, 52.0, 42.0]]], np.float32)
    return {"points": Points(points, labels, valid), "boxes": Boxes(boxes, valid[..., 0])}


def test_overlay_shows_truth_result_and_prompts(photo, square, prompts):
    anomaly_map = np.where(square, 0.9, 0.1).astype(np.float32)
    plain = overlay(photo, anomaly_map, ~square & square)
    assert not contains(plain, TRUTH)
    assert not contains(plain, RESULT)
    full = overlay(photo, anomaly_map, square, truth=square, stages=prompts, verdict="anomalous")
    assert full.width > plain.width
    for colour in (TRUTH, RESULT, POSITIVE, BOX):
        assert contains(full, colour)


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (700, 2)])
def test_overlays_of_any_shape(shape):
    photo, mask = np.zeros((*shape, 3), np.uint8), np.ones(shape, bool)
    assert contains(overlay(photo, mask.astype(np.float32), mask, truth=mask), RESULT)


def test_panels_follow_the_stages_whatever_they_are_called(photo, square, prompts):
    anomaly_map = square.astype(np.float32)
    canvas = np.zeros((1, 96, 96), np.float32)
    canvas[0, :60, :80] = anomaly_map / 2
    logits = np.full((1, 2, 1, 8, 8), 1.0, np.float32)
    masks = Masks(logits, np.ones((1, 2, 1)), np.ones((1, 2)), np.array([[True, False]]))
    stages = {"glow": Heat(canvas), **prompts, "regions": masks, "last": Heat(canvas * 2)}
    found = panels(photo, anomaly_map, square, stages, square)
    assert [(panel.caption, panel.kind) for panel in found] == [
        ("photo", "photo"),
        ("truth", "photo"),
        ("glow", "map"),
        ("points, boxes", "prompts"),
        ("regions", "masks"),
        ("anomaly map", "map"),  # of which "last" is a copy
        ("result", "photo"),
    ]
    asked = found[3].picture
    assert all(contains(asked, colour) for colour in (POSITIVE, NEGATIVE, BOX))
    assert [p.caption for p in panels(photo, anomaly_map, square, {})] == [
        "photo",
        "anomaly map",
        "result",
    ]


def test_masks_are_the_best_of_each_region_in_the_photos_part():
    logits = np.full((1, 2, 2, 4, 4), -1.0, np.float32)
    logits[0, 0, 1, :2, 0] = 1.0  # the better candidate of the valid region
    logits[0, 1] = 1.0
    quality = np.array([[[0.1, 0.9], [0.5, 0.5]]])
    stage = Masks(logits, quality, np.array([[0.5, 1.0]]), np.array([[True, False]]))
    (mask,) = masks_of(stage, (10, 20))
    # The photo takes the upper half of the rows, all of which are in the mask.
    assert mask[:, :5].all()
    assert not mask[:, 5:].any()


def test_maps_are_16_bit_and_masks_8_bit(tmp_path):
    anomaly_map = np.array([[0.0, 0.5, 1.0], [1.5, -1.0, 0.25]], np.float32)
    save_map_png16(tmp_path / "sub" / "m.png", anomaly_map)
    levels = np.asarray(Image.open(tmp_path / "sub" / "m.png"))
    assert levels.tolist() == [[0, 32768, 65535], [65535, 0, 16384]]
    save_mask_png(tmp_path / "k.png", anomaly_map >= 0.5)
    mask = Image.open(tmp_path / "k.png")
    assert mask.mode == "L"
    assert np.asarray(mask).tolist() == [[0, 255, 255], [255, 0, 0]]


def test_strips_of_the_best_worst_and_highest_good_picture(tmp_path):
    result = run(Source(), tmp_path, pictures=1, batch_size=1)
    details = json.loads((result.directory / "report.json").read_text())
    by_category = {}
    for strip in details["strips"]:
        by_category.setdefault(strip["category"], []).append(strip)
    assert set(by_category) == set(Source.categories)
    tile = by_category["tile"]
    assert [strip["kind"] for strip in tile] == ["best", "worst", "highest good"]
    photos = [photo for photo in details["photos"] if photo["category"] == "tile"]
    aps = [photo["ap"] for photo in photos if photo["ap"] is not None]
    assert [strip["ap"] for strip in tile] == [max(aps), min(aps), None]
    good = max((p for p in photos if p["label"] == 0), key=lambda p: p["score"])
    assert tile[2]["name"] == good["name"]
    for strip in details["strips"]:
        assert [panel["caption"] for panel in strip["panels"]] == [
            "photo",
            "truth" if strip["label"] else "truth: good",
            "first map",
            "points, boxes",
            "masks",
            "anomaly map",
            "result",
        ]
        for panel in strip["panels"]:
            with Image.open(result.directory / panel["file"]) as picture:
                assert list(picture.size) == panel["size"]
    # What fell out on the way is gone.
    folders = {folder.name for folder in (result.directory / "strips").iterdir()}
    assert folders == {f"{strip['index']:06d}" for strip in details["strips"]}
    ap = {photo["name"]: photo["ap"] for photo in details["photos"]}
    image, mask = Source().arrays(1)
    small = resize_map(red(image), 518, 518), resize_mask(mask, 518, 518)
    assert ap["crack/1.jpg"] == pytest.approx(evaluate_maps(*[[x] for x in small])["pixel_ap"])


def made(index, ap=None, score=0.5, label=1, category="tile"):
    return Photo(index, f"{index}.jpg", category, "x", label, score, "good", 0.1, 0.5, ap)


def offer(strips, photos):
    drawn = []

    def draw(photo):
        drawn.append(photo.index)
        return [Panel("photo", Image.new("RGB", (4, 4)), "photo")]

    for photo in photos:
        strips.offer(photo, lambda photo=photo: draw(photo))
    return drawn


def shown(strips):
    return [(strip["kind"], strip["index"]) for strip in strips.chosen()]


def test_the_order_of_photos_changes_nothing(tmp_path):
    photos = [made(0, 0.5), made(1, 0.9), made(2, 0.1), made(3, 0.5), made(4, None, 0.7, 0)]
    found = set()
    for number, order in enumerate(itertools.permutations(photos)):
        strips = Strips(tmp_path / str(number), ["tile"], 1)
        offer(strips, order)
        found.add(tuple(shown(strips)))
    assert found == {(("best", 1), ("worst", 2), ("highest good", 4))}


def test_each_photo_is_shown_once_and_unlabelled_ones_by_score(tmp_path):
    strips = Strips(tmp_path, ["tile", "nut"], 2)
    offer(strips, [made(0, 0.5), made(1, 0.4)])
    offer(strips, [made(i, None, i / 10, -1, "nut") for i in range(2, 8)])
    assert shown(strips) == [
        *(("highest", 7), ("highest", 6), ("lowest", 2), ("lowest", 3)),
        *(("best", 0), ("best", 1)),
    ]


def test_only_what_ranks_is_drawn(tmp_path):
    strips = Strips(tmp_path, ["tile"], 1)
    drawn = offer(strips, [made(0, 0.5), made(1, 0.4), made(2, 0.45), made(3, 0.6, category="?")])
    assert drawn == [0, 1]
    assert offer(Strips(tmp_path, ["tile"], 0), [made(0, 0.5)]) == []


def test_a_long_page_is_cut_down_to_some_categories(tmp_path):
    names = [f"{number:02d}" for number in range(30)]
    strips = Strips(tmp_path, names, 1)
    offer(strips, [made(i, 0.5, category=name) for i, name in enumerate(names)])
    assert len(strips.chosen()) == 20


def test_a_run_goes_on_with_the_pictures_of_its_journal(tmp_path):
    strips = Strips(tmp_path, ["tile"], 1)
    early = [made(0, 0.5), made(1, 0.4)]
    offer(strips, early)
    state = json.loads(json.dumps(strips.state()))
    offer(strips, [made(2, 0.9), made(3, 0.1)])  # drives both out, and nobody noted it
    again = Strips(tmp_path, ["tile"], 1)
    again.restore(state, early)
    assert shown(again) == [("best", 0), ("worst", 1)]
    folders = {folder.name for folder in (tmp_path / "strips").iterdir()}
    assert folders == {"000000", "000001"}
    offer(again, [made(2, 0.9), made(3, 0.1)])
    again.sweep()
    assert {folder.name for folder in (tmp_path / "strips").iterdir()} == {"000002", "000003"}
    assert again.chosen() == strips.chosen()
