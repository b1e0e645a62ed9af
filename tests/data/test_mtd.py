"""The published layout of Magnetic Tile Defect."""

import PIL.Image
import pytest

from zsas_jax.data.images import decode_mask, image_size
from zsas_jax.data.mtd import MTDSource
from zsas_jax.data.registry import open_dataset
from zsas_jax.errors import DatasetError


@pytest.fixture
def root(tmp_path):
    for kind in ("Blowhole", "Free", "Uneven"):
        for name in ("exp1_num_2", "exp1_num_1"):
            folder = tmp_path / f"MT_{kind}" / "Imgs"
            folder.mkdir(parents=True, exist_ok=True)
            PIL.Image.new("L", (5, 4), 90).save(folder / f"{name}.jpg")
            PIL.Image.new("L", (5, 4), 255 * (kind == "Blowhole")).save(folder / f"{name}.png")
    (tmp_path / "README.md").write_text("Magnetic tile defects")
    return tmp_path


def test_labels_follow_the_folder(root):
    source = MTDSource(root)
    records = [source[index] for index in range(len(source))]
    assert [record["name"] for record in records[:2]] == [
        "MT_Blowhole/Imgs/exp1_num_1.jpg",
        "MT_Blowhole/Imgs/exp1_num_2.jpg",
    ]
    # An empty mask in a folder of defects is still labelled anomalous.
    assert [record["label"] for record in records] == [1, 1, 0, 0, 1, 1]
    defects = ["MT_Blowhole"] * 2 + ["good"] * 2 + ["MT_Uneven"] * 2
    assert [record["defect"] for record in records] == defects
    assert {record["category"] for record in records} == {"magnetic tile"}
    assert records[0]["mask"].endswith("exp1_num_1.png")
    assert records[2]["mask"] is None


def test_parent_directory_and_category(root):
    assert len(open_dataset("mtd", root.parent, ["magnetic_tile"])) == 6
    with pytest.raises(DatasetError, match="no category 'tile'"):
        open_dataset("mtd", root, ["tile"])


def test_faulty_trees(root):
    with pytest.raises(DatasetError, match="not MTD as published: expected the directory above it"):
        MTDSource(root / "MT_Free")
    (root / "MT_Blowhole" / "Imgs" / "exp1_num_1.png").unlink()
    (root / "MT_Free" / "Imgs" / "exp1_num_1.png").unlink()  # Of no consequence.
    with pytest.raises(DatasetError, match="does not exist: expected the mask of exp1_num_1"):
        MTDSource(root)


def test_real_pictures(samples):
    source = MTDSource(samples / "mtd")
    assert len(source) == 12
    records = [source[index] for index in range(12)]
    assert sum(record["label"] for record in records) == 10
    for record in records:
        if record["mask"] is not None:
            mask = decode_mask(record["mask"])
            assert mask.shape == image_size(record["image"])
            assert 0 < mask.mean() < 0.7
