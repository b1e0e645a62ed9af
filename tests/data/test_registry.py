"""Data sets by name, and one of one's own as docs/datasets.md shows it."""

import pathlib
import re

import pytest
from miniature import mask, photo

from zsas_jax.__main__ import main
from zsas_jax.data import registry
from zsas_jax.data.published import PUBLISHED
from zsas_jax.data.registry import DATASETS, find_dataset, open_dataset, register
from zsas_jax.errors import DatasetError

GUIDE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "datasets.md"


@pytest.fixture
def example(tmp_path):
    """The file of the guide."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    path = tmp_path / "screws.py"
    path.write_text(code)
    return path


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "line 3"
    photo(root / "long_screw" / "ok" / "1.jpg")
    photo(root / "long_screw" / "bent" / "2.jpg")
    photo(root / "nut" / "ok" / "3.jpg")
    mask(root / "masks" / "long_screw" / "bent" / "2.png")
    return root


def test_own_data_set_of_the_guide(example, tree, tmp_path, capsys):
    source = open_dataset(str(example), tree)
    assert source.categories == ("long screw", "nut")
    records = [source[index] for index in range(3)]
    assert [record["defect"] for record in records] == ["bent", "good", "good"]
    assert records[0]["mask"] == str(tree / "masks" / "long_screw" / "bent" / "2.png")
    assert main(["data", "prepare", str(example), "--data-dir", str(tree)]) == 0
    assert main(["data", "check", str(example), "--data-dir", str(tree)]) == 0
    assert "3 photos, readable" in capsys.readouterr().out
    prepared = open_dataset(str(example), tree / "prepared", ["long screw"])
    assert [prepared[index]["name"] for index in range(2)] == [
        "long_screw/bent/2.jpg",
        "long_screw/ok/1.jpg",
    ]


def test_registered_by_name(example, tree, monkeypatch):
    monkeypatch.setattr(registry, "DATASETS", dict(DATASETS))
    monkeypatch.setattr(registry, "PUBLISHED", dict(PUBLISHED))
    dataset = find_dataset(str(example))
    register(dataset)
    register(dataset)
    assert len(open_dataset("screws", tree)) == 3
    assert find_dataset("screws") is dataset
    with pytest.raises(DatasetError, match="There is a data set 'screws' already"):
        register(find_dataset(str(example)))


def test_builder_of_the_guide(example, tree, tmp_path):
    import tensorflow_datasets as tfds

    from zsas_jax.data.builders import AnomalyBuilder

    class Screws(AnomalyBuilder, skip_registration=True):
        dataset = find_dataset(str(example))

    builder = Screws(data_dir=tmp_path / "out", file_format="array_record")
    config = tfds.download.DownloadConfig(manual_dir=tree)
    builder.download_and_prepare(download_config=config)
    assert builder.info.splits["test"].num_examples == 3
    assert len(open_dataset(str(example), tmp_path / "out")) == 3


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("1/0", r"cannot be run \(ZeroDivisionError: division by zero\)"),
        ("DATASET = 3", r"has no DATASET: expected DATASET = zsas_jax\.data"),
        ("", r"has no DATASET"),
    ],
)
def test_faulty_files(tmp_path, code, expected):
    path = tmp_path / "mine.py"
    path.write_text(code)
    with pytest.raises(DatasetError, match=expected):
        open_dataset(str(path), tmp_path)
    with pytest.raises(DatasetError, match=r"other\.py does not exist: expected a Python file"):
        open_dataset(str(tmp_path / "other.py"), tmp_path)


def test_names(example):
    text = example.read_text()
    for name in ("Screws", "../x", "", "mtd"):
        example.write_text(text.replace('name="screws"', f'name="{name}"'))
        with pytest.raises(DatasetError, match=r"data set's name|already"):
            register(find_dataset(str(example)))


def test_splits(tree):
    for name in ("folder", "synthetic"):
        with pytest.raises(DatasetError, match=f"{name} has no train split"):
            open_dataset(name, None if name == "synthetic" else tree, split="train")
