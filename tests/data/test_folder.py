"""Trees of photos, masks beside them, and the registry."""

import errno
import os
import pathlib
import unicodedata

import numpy as np
import PIL.Image
import pytest

from zsas_jax.data.folder import FolderSource
from zsas_jax.data.registry import DATASETS, open_dataset
from zsas_jax.data.sources import AnomalySource, RandomAccess
from zsas_jax.errors import DatasetError


def save(path: pathlib.Path, size=(8, 6), value=90, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("L", size, value).save(path, **options)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "photos"
    for name in ("b.jpg", "a.PNG", "sub/c.v2.JPEG", "sub/.hidden.png", ".git/d.png"):
        save(root / name)
    (root / "notes.txt").write_text("no photo")
    return root


def test_finds_photos_recursively_sorted(tree):
    source = FolderSource(tree, "screw")
    assert source.names == ["a.PNG", "b.jpg", "sub/c.v2.JPEG"]
    assert not source.has_masks
    assert source.categories == ("screw",)
    assert isinstance(source, AnomalySource)
    record = source[2]
    assert pathlib.Path(record["image"]) == tree / "sub" / "c.v2.JPEG"
    assert (record["label"], record["defect"], record["mask"]) == (-1, "unlabeled", None)
    assert record["category"] == "screw"


def test_masks_by_relative_path_without_suffix(tree, tmp_path):
    masks = tmp_path / "masks"
    save(masks / "sub" / "c.v2.png", value=128)
    save(masks / "b.png", value=0)  # Nothing is anomalous: good.
    source = FolderSource(tree, mask_dir=masks)
    assert source.has_masks
    assert [source[i]["label"] for i in range(3)] == [0, 0, 1]
    assert [source[i]["defect"] for i in range(3)] == ["good", "good", "defect"]
    assert source[0]["mask"] is None
    assert source[2]["mask"].all()
    assert source[2]["mask"].shape == (6, 8)


def test_masks_inside_the_tree_are_no_photos(tree):
    save(tree / "masks" / "b.png", value=255)
    assert FolderSource(tree, mask_dir=tree / "masks").names == ["a.PNG", "b.jpg", "sub/c.v2.JPEG"]


def test_mask_of_an_upside_down_photo_has_the_upright_size(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "photos" / "a.jpg", (8, 6), exif=exif)
    save(tmp_path / "masks" / "a.png", (6, 8), 255)
    source = FolderSource(tmp_path / "photos", mask_dir=tmp_path / "masks")
    assert source[0]["mask"].shape == (8, 6)


def test_mask_of_another_size(tree, tmp_path):
    save(tmp_path / "masks" / "b.png", (9, 6))
    with pytest.raises(DatasetError, match=r"b\.png has 9 x 6 pixels: expected the 8 x 6 .*b\.jpg"):
        FolderSource(tree, mask_dir=tmp_path / "masks")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.eye(8, dtype=np.uint8)[:6], "no value above 1, .*: expected 255 for anomalous"),
        (np.full((6, 8), 127, np.uint8), "no value above 127, .*: expected 255 for anomalous"),
        (np.full((6, 8), 255, np.uint16), "no value above 255, .*: expected 65535 for anomalous"),
    ],
)
def test_mask_with_values_that_mean_nothing(tree, tmp_path, values, words):
    save(tmp_path / "masks" / "a.png", value=255)
    PIL.Image.fromarray(values).save(tmp_path / "masks" / "b.png")
    with pytest.raises(DatasetError, match=rf"b\.png has {words}"):
        FolderSource(tree, mask_dir=tmp_path / "masks")


def test_masks_of_no_photo_are_a_warning(tree, tmp_path):
    masks = tmp_path / "masks"
    save(masks / "b.png", value=255)
    assert FolderSource(tree, mask_dir=masks).warnings == []
    for name in ("b_mask.png", "sub/c.png", "b.tif", ".hidden.png"):
        save(masks / name, value=255)
    (warning,) = FolderSource(tree, mask_dir=masks).warnings
    assert warning.startswith(f"{masks} holds masks of no photo (3, first b.tif)")
    assert "expected names like a.png for a.PNG" in warning
    assert FolderSource(tree).warnings == []


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_composed_and_decomposed_names_are_the_same(tmp_path, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    save(tmp_path / "photos" / unicodedata.normalize(form, "größe/ü.jpg"))
    save(tmp_path / "masks" / unicodedata.normalize(other, "größe/ü.png"), value=255)
    source = FolderSource(tmp_path / "photos", mask_dir=tmp_path / "masks")
    assert source[0]["label"] == 1
    assert source.warnings == []


def test_masks_beside_the_photos_are_refused(tree):
    save(tree / "b.png", value=255)
    (tree.parent / "link").symlink_to(tree, target_is_directory=True)
    for mask_dir in (tree, tree.parent / "link"):
        with pytest.raises(DatasetError, match="of the photos too: expected masks in one of their"):
            FolderSource(tree, mask_dir=mask_dir)


def test_damaged_mask_is_left_to_its_reader(tree, tmp_path):
    save(tmp_path / "masks" / "b.png", value=255)
    data = (tmp_path / "masks" / "b.png").read_bytes()
    (tmp_path / "masks" / "b.png").write_bytes(data[:50])
    record = FolderSource(tree, mask_dir=tmp_path / "masks")[1]
    assert record["mask"] == str(tmp_path / "masks" / "b.png")


def test_mask_directory_that_matches_nothing(tree, tmp_path):
    save(tmp_path / "masks" / "b_mask.png", value=255)
    with pytest.raises(
        DatasetError, match=r"no mask of a photo .*: expected, for example, .*a\.png"
    ):
        FolderSource(tree, mask_dir=tmp_path / "masks")


def test_missing_and_empty_directories(tree, tmp_path):
    with pytest.raises(DatasetError, match="nowhere does not exist: expected a directory"):
        FolderSource(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="is not a directory: expected a directory"):
        FolderSource(tree / "b.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty holds no photos: expected files"):
        FolderSource(tmp_path / "empty")
    with pytest.raises(DatasetError, match="masks does not exist: expected a directory with masks"):
        FolderSource(tree, mask_dir=tmp_path / "masks")


def test_link_to_a_parent_ends(tree):
    (tree / "sub" / "up").symlink_to(tree, target_is_directory=True)
    assert len(FolderSource(tree)) == 3


def test_name_that_is_not_utf8(tree):
    save(tree / os.fsdecode(b"sub/gr\xc3\xbcn f\xfcr.png"))
    (tree / os.fsdecode(b"f\xfcr.txt")).write_text("no photo")
    with pytest.raises(DatasetError, match=r"holds sub/grün f\\xfcr\.png, whose name is not"):
        FolderSource(tree)


def test_name_with_a_carriage_return(tree):
    save(tree / "a\rb.png")
    with pytest.raises(DatasetError, match=r"'a\\rb.png', whose name has a carriage return"):
        FolderSource(tree)


def test_folder_that_cannot_be_read_is_no_folder_without_photos(tree, monkeypatch):
    real = os.scandir

    def scandir(path):
        if os.path.basename(path) == "sub":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DatasetError, match=r"sub cannot be read \(Permission denied\)"):
        FolderSource(tree)


def test_grain_reads_sources(tree):
    grain = pytest.importorskip("grain")
    source = FolderSource(tree)
    assert isinstance(source, RandomAccess)
    names = [record["name"] for record in grain.MapDataset.source(source)]
    assert names == source.names


def test_open_folder(tree):
    source = open_dataset("folder", tree, ["metal nut"])
    assert source.categories == ("metal nut",)
    assert open_dataset("folder", tree).categories == ("object",)
    with pytest.raises(DatasetError, match="expected one name"):
        open_dataset("folder", tree, ["a", "b"])


def test_open_synthetic():
    source = open_dataset("synthetic")
    assert source.has_masks
    chosen = open_dataset("synthetic", categories=[source.categories[-1]], seed=3)
    assert tuple(chosen.categories) == (source.categories[-1],)
    assert 0 < len(chosen) < len(source)
    record = chosen[0]
    assert record["image"].dtype == np.uint8
    with pytest.raises(DatasetError):
        open_dataset("synthetic", categories=["no such class"])


def test_faulty_requests(tree):
    with pytest.raises(DatasetError, match="no data set 'mvtek': did you mean 'mvtec'"):
        open_dataset("mvtek", tree)
    for name in set(DATASETS) - {"synthetic"}:
        with pytest.raises(DatasetError, match="needs a data directory"):
            open_dataset(name)
    with pytest.raises(DatasetError, match="expected no mask directory"):
        open_dataset("mtd", tree, mask_dir=tree)
    with pytest.raises(DatasetError, match="expected no data directory"):
        open_dataset("synthetic", tree)
