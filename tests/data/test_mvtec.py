"""The published layout of MVTec AD."""

import pathlib

import PIL.Image
import pytest

from zsas_jax.data.mvtec import MVTecSource
from zsas_jax.data.registry import open_dataset
from zsas_jax.errors import DatasetError


@pytest.fixture
def root(tmp_path) -> pathlib.Path:
    for name in (
        "metal_nut/train/good/000",
        "metal_nut/test/good/000",
        "metal_nut/test/bent/000",
        "metal_nut/test/bent/001",
        "metal_nut/ground_truth/bent/000_mask",
        "metal_nut/ground_truth/bent/001_mask",
        "tile/test/good/000",
        "tile/test/crack/000",
        "tile/ground_truth/crack/000_mask",
    ):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.new("L", (4, 4), 255).save(path)
    (tmp_path / "license.txt").write_text("CC BY-NC-SA 4.0")
    return tmp_path


def test_test_split_with_masks(root):
    source = MVTecSource(root)
    assert source.categories == ("metal nut", "tile")
    assert source.has_masks
    records = [source[index] for index in range(len(source))]
    assert [record["name"] for record in records] == [
        "metal_nut/test/bent/000.png",
        "metal_nut/test/bent/001.png",
        "metal_nut/test/good/000.png",
        "tile/test/crack/000.png",
        "tile/test/good/000.png",
    ]
    assert [record["label"] for record in records] == [1, 1, 0, 1, 0]
    assert [record["defect"] for record in records] == ["bent", "bent", "good", "crack", "good"]
    assert records[0]["category"] == "metal nut"
    assert records[1]["mask"] == str(root / "metal_nut/ground_truth/bent/001_mask.png")
    assert records[2]["mask"] is None
    assert all(pathlib.Path(record["image"]).is_file() for record in records)


@pytest.mark.parametrize("name", ["metal nut", "metal_nut"])
def test_selection(root, name):
    source = open_dataset("mvtec", root, [name])
    assert source.categories == ("metal nut",)
    assert len(source) == 3
    with pytest.raises(DatasetError, match="no category 'tiles': did you mean 'tile'"):
        open_dataset("mvtec", root, ["tiles"])


def test_archive_folder_inside(root, tmp_path):
    outer = tmp_path.with_name(tmp_path.name + "_outer")
    outer.mkdir()
    root.rename(outer / "mvtec_anomaly_detection")
    assert len(MVTecSource(outer)) == 5


def test_faulty_trees(root, tmp_path):
    with pytest.raises(
        DatasetError, match=r"single category .*: expected the directory above.*'tile'"
    ):
        MVTecSource(root / "tile")
    with pytest.raises(DatasetError, match="not MVTec AD as published: expected"):
        MVTecSource(root / "tile" / "test")
    (root / "tile" / "ground_truth" / "crack" / "000_mask.png").unlink()
    assert len(MVTecSource(root, ["metal_nut"])) == 3
    with pytest.raises(
        DatasetError, match=r"000_mask\.png does not exist: expected the mask of tile"
    ):
        MVTecSource(root)
    with pytest.raises(DatasetError, match="does not exist: expected a directory with MVTec"):
        MVTecSource(tmp_path / "nowhere")
