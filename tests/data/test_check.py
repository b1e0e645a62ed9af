"""`zsas data`: what is missing is named, and nothing is mended."""

import dataclasses
import shutil

import pytest
from miniature import TREES, mask, photo

from zsas_jax.__main__ import main
from zsas_jax.data.check import check
from zsas_jax.data.description import Count
from zsas_jax.data.prepared import prepare
from zsas_jax.data.published import PUBLISHED

# The numbers of the miniature trees, as if they were the published ones.
SMALL = dataclasses.replace(
    PUBLISHED["mvtec"],
    categories=("metal_nut", "tile"),
    counts=(
        Count(1, "train", "metal_nut"),
        Count(1, "train", "tile"),
        Count(1, "test", "metal_nut", anomalous=True),
        Count(2, "test", "tile", anomalous=True),
        Count(1, "test", "tile", anomalous=False),
        Count(3, None, None, anomalous=True, at_least=True),
    ),
)


@pytest.fixture
def root(tmp_path):
    TREES["mvtec"][1](tmp_path / "tree")
    return tmp_path / "tree"


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(PUBLISHED, "mvtec", SMALL)


def files(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_complete_tree_and_prepared_data(root, tmp_path, small, capsys):
    before = files(root)
    report = check(SMALL, root)
    assert report.complete
    assert ("tile", "test", "crack", 2) in report.table()
    assert report.table()[0] == ("metal_nut", "train", "good", 1)
    assert main(["data", "check", "mvtec", "--data-dir", str(root)]) == 0
    assert "7 photos, complete" in capsys.readouterr().out
    prepare(SMALL, root, tmp_path / "out")
    assert main(["data", "check", "mvtec", "--data-dir", str(tmp_path / "out")]) == 0
    assert "7 photos, complete" in capsys.readouterr().out
    assert files(root) == before


@pytest.mark.parametrize("name", TREES)
def test_miniature_trees_lack_nothing_but_numbers(name, tmp_path):
    dataset, make = TREES[name]
    make(tmp_path)
    report = check(PUBLISHED[dataset], tmp_path)
    assert set(report.problems) <= {"numbers"}
    assert bool(report.notes) == (name == "mtd")
    if name == "mtd":
        assert report.notes == (
            "1 photos of defects have an empty mask: MT_Uneven/Imgs/exp1_num_1.jpg",
        )


def test_each_kind_of_damage_is_named(root, small, capsys):
    tile = root / "tile"
    (tile / "test" / "crack" / "000.png").unlink()
    (root / "metal_nut" / "ground_truth" / "bent wire" / "größe 1_mask.png").unlink()
    good = tile / "test" / "good" / "000.png"
    good.write_bytes(good.read_bytes()[:70])
    photo(tile / "train" / "good" / "003.png")
    mask(tile / "ground_truth" / "crack" / "001_mask.png", size=(9, 6))
    report = check(SMALL, root)
    assert report.problems["numbers"] == [
        "tile train: 2 photos, published 1",
        "tile test with defects: 1 photos, published 2",
        "with defects: 2 photos, published at least 3",
    ]
    assert report.problems["gaps in the numbering"] == [
        "tile/test/crack/000",
        "tile/train/good/001",
        "tile/train/good/002",
    ]
    assert report.problems["missing masks"] == ["metal_nut/ground_truth/bent wire/größe 1_mask.png"]
    assert report.problems["masks without a photo"] == ["tile/ground_truth/crack/000_mask.png"]
    unreadable = report.problems["unreadable files"]
    assert unreadable[0] == (
        "the mask of tile/test/crack/001.png has 9 x 6 pixels: expected the 8 x 6 of its photo"
    )
    assert f"{good} is truncated or damaged" in unreadable[1]
    assert main(["data", "check", "mvtec", "--data-dir", str(root)]) == 1
    out = capsys.readouterr().out
    assert "missing masks:\n  metal_nut/ground_truth/bent wire" in out
    assert "NOT as published" in out
    assert "unreadable files" not in check(SMALL, root, decode=False).problems


def test_names_that_count_no_photos_have_no_gaps(root, small):
    good = root / "tile" / "test" / "good"
    for name in ("20231105", "²"):
        photo(good / f"{name}.png")
    assert "gaps in the numbering" not in check(SMALL, root).problems


def test_missing_category_and_half_an_archive(root):
    shutil.rmtree(root / "metal_nut")
    assert check(SMALL, root).problems["numbers"][0] == "category 'metal_nut' is missing"
    shutil.rmtree(root / "tile" / "test" / "good")
    problems = check(SMALL, root).problems["numbers"]
    assert "tile test good: 0 photos, published 1" in problems


def test_list_of_photos_names_those_that_are_missing(tmp_path):
    TREES["visa"][1](tmp_path)
    (tmp_path / "candle" / "Data" / "Images" / "Normal" / "0001.JPG").unlink()
    shutil.rmtree(tmp_path / "pipe_fryum" / "Data" / "Masks")
    problems = check(PUBLISHED["visa"], tmp_path).problems
    assert problems["missing photos"] == ["candle/Data/Images/Normal/0001.JPG"]
    assert problems["missing masks"] == ["pipe_fryum/Data/Masks/Anomaly/000.png"]


def test_damaged_prepared_photos_are_named(root, tmp_path):
    (root / "tile" / "test" / "good" / "000.png").write_bytes(b"junk")
    place = prepare(SMALL, root, tmp_path / "out")
    problems = check(SMALL, place).problems
    assert list(problems) == ["unreadable files"]
    assert "tile/test/good/000.png is not an image" in problems["unreadable files"][0]


# --- the command line


def test_list(root, tmp_path, capsys):
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert "3,629 train, 1,725 test" in out
    assert set(PUBLISHED) <= {line.split()[0] for line in out.splitlines()}
    assert main(["data", "list", "mvtec", "--data-dir", str(root)]) == 0
    out = capsys.readouterr().out
    assert "mvtec_anomaly_detection.tar.xz" in out
    assert "bent wire" in out
    assert main(["data", "list", "--data-dir", str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert str(root) in lines["mvtec"]
    assert "not here" in lines["mpdd"]
    assert "not here" in lines["ksdd2"]
    assert "not here" in lines["mad_real"]


def test_prepare(root, tmp_path, capsys):
    arguments = ["prepare", "mvtec", "--data-dir", str(root), "--output-dir", str(tmp_path / "o")]
    for _ in range(2):
        assert main(["data", *arguments]) == 0
        captured = capsys.readouterr()
        assert captured.out == (
            "train         2 photos\ntest          5 photos\n"
            f"{tmp_path}/o/mvtec/1.0.0\n"
            f"zsas evaluate --dataset mvtec --data-dir {tmp_path}/o/mvtec/1.0.0\n"
        )
        assert "is not as published: category 'bottle' is missing" in captured.err


def test_bad_usage_is_one_sentence(tmp_path, capsys):
    for arguments, expected in (
        (["check", "mvtek", "--data-dir", "."], "error: There is no data set 'mvtek': did you"),
        (["check", "folder", "--data-dir", "."], "error: There is no data set 'folder'"),
        (["check", "mvtec", "--data-dir", "nowhere"], "error: nowhere does not exist: expected"),
        (["prepare", "mtd", "--data-dir", str(tmp_path)], "is not MTD as published: expected"),
        (["list", "my.py"], "error: my.py does not exist: expected a Python file with a DATASET"),
    ):
        assert main(["data", *arguments]) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert error.count("\n") == 1
    assert main(["data", "check", "mvtec"]) == 2
    assert "--data-dir" in capsys.readouterr().err
