import json

import numpy as np
import pytest
from PIL import Image

from zsas_jax.metrics import METRICS
from zsas_jax.report.files import (
    atomic_path,
    save_csv,
    save_json,
    save_map_png16,
    save_mask_png,
)
from zsas_jax.report.overlays import POSITIVE, RESULT, TRUTH, Prompts, overlay, save_overlay
from zsas_jax.report.tables import metrics_table


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


def test_overlay_shows_truth_result_and_prompts(photo, square):
    anomaly_map = np.where(square, 0.9, 0.1).astype(np.float32)
    prompts = Prompts(
        np.array([[40.0, 30.0], [10.0, 10.0]], np.float32),
        np.array([1, 0]),
        np.array([[28.0, 18.0, 52.0, 42.0]], np.float32),
    )
    plain = overlay(photo, anomaly_map, ~square & square)
    assert not contains(plain, TRUTH)
    assert not contains(plain, RESULT)
    full = overlay(photo, anomaly_map, square, truth=square, prompts=prompts, verdict="anomalous")
    assert full.width > plain.width
    for colour in (TRUTH, RESULT, POSITIVE):
        assert contains(full, colour)


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (700, 2)])
def test_overlays_of_any_shape(tmp_path, shape):
    photo = np.zeros((*shape, 3), np.uint8)
    mask = np.ones(shape, bool)
    save_overlay(tmp_path / "a.jpg.jpg", photo, mask.astype(np.float32), mask, truth=mask)
    with Image.open(tmp_path / "a.jpg.jpg") as strip:
        assert strip.format == "JPEG"
        assert contains(overlay(photo, mask.astype(np.float32), mask), RESULT)


def test_maps_are_16_bit_and_masks_8_bit(tmp_path):
    anomaly_map = np.array([[0.0, 0.5, 1.0], [1.5, -1.0, 0.25]], np.float32)
    save_map_png16(tmp_path / "sub" / "m.png", anomaly_map)
    levels = np.asarray(Image.open(tmp_path / "sub" / "m.png"))
    assert levels.tolist() == [[0, 32768, 65535], [65535, 0, 16384]]
    save_mask_png(tmp_path / "k.png", anomaly_map >= 0.5)
    mask = Image.open(tmp_path / "k.png")
    assert mask.mode == "L"
    assert np.asarray(mask).tolist() == [[0, 255, 255], [255, 0, 0]]


def write_half(path):
    with atomic_path(path) as part:
        part.write_text("half")
        raise RuntimeError


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path):
    save_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(ValueError, match="JSON"):
        save_json(tmp_path / "a.json", {"new": float("nan")})
    with pytest.raises(RuntimeError):
        write_half(tmp_path / "b")
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_csv_quotes_what_needs_it(tmp_path):
    save_csv(tmp_path / "a.csv", ["path", "score"], [['b, "c"/ü.png', 0.5]])
    assert (tmp_path / "a.csv").read_text("utf-8") == 'path,score\n"b, ""c""/ü.png",0.5\n'


def test_table():
    first = dict.fromkeys(METRICS, 0.5) | {"pixel_pro": None, "pixel_auroc": 0.98765}
    categories = {"bottle": first, "a longer name": dict.fromkeys(METRICS, 1.0)}
    lines = metrics_table(categories, dict.fromkeys(METRICS, 0.75)).splitlines()
    assert lines[2].split() == ["bottle", "98.8", "50.0", "50.0", "-", "50.0", "50.0", "50.0"]
    assert lines[-1].split() == ["mean", *["75.0"] * 7]
    assert len({len(line) for line in lines}) == 1
    assert "mean" not in metrics_table({"bottle": first}, first)
    markdown = metrics_table(categories, None, markdown=True).splitlines()
    assert len(markdown) == 4
    assert all(line.count("|") == 9 for line in markdown)
