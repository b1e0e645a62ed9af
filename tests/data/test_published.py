"""Every published layout, read from its tree and from what was prepared of it."""

import os
import pathlib
import sys

import numpy as np
import PIL.Image
import pytest
from miniature import TREES, mask, mvtec, photo, visa

from zsas_jax.data.description import compare_counts
from zsas_jax.data.images import decode_image, decode_mask, image_size
from zsas_jax.data.loader import iterate_batches
from zsas_jax.data.prepared import PreparedSource, find_prepared, prepare
from zsas_jax.data.published import PUBLISHED
from zsas_jax.data.registry import DATASETS, open_dataset
from zsas_jax.data.sources import AnomalySource
from zsas_jax.data.trees import TreeSource
from zsas_jax.errors import DatasetError


def read(record):
    """A record with its photo and mask decoded."""
    image = decode_image(record["image"], record["name"])
    truth = None if record["mask"] is None else decode_mask(record["mask"], name="the mask")
    assert truth is None or truth.shape == image.shape[:2]
    return image, truth


@pytest.fixture(params=TREES)
def tree(request, tmp_path):
    """(name of the data set, directory, what its records say)."""
    return planted(request.param, tmp_path)


def planted(kind, tmp_path):
    name, make = TREES[kind]
    root = tmp_path / "Daten größer" / "tree"
    root.mkdir(parents=True)
    return name, root, make(root)


def test_tree_gives_the_published_records(tree):
    name, root, truths = tree
    source = open_dataset(name, root)
    assert isinstance(source, AnomalySource)
    assert isinstance(source, TreeSource)
    assert source.has_masks
    assert len(source) == len(truths)
    for index, truth in enumerate(truths):
        record = source[index]
        assert record["name"] == truth.name
        assert record["category"] == truth.category
        assert record["defect"] == truth.defect
        assert record["label"] == int(truth.defect != "good")
        _, anomalous = read(record)
        assert (None if anomalous is None else int(anomalous.sum())) == truth.pixels


# Folders of defects; lists of files, turned photos and masks of small numbers; one flat folder.
@pytest.mark.parametrize("kind", ["mvtec", "visa", "ksdd2"])
def test_prepared_data_give_the_same_records_and_batches(kind, tmp_path):
    name, root, truths = planted(kind, tmp_path)
    source = open_dataset(name, root)
    place = prepare(PUBLISHED[name], root, tmp_path / "out")
    assert place == tmp_path / "out" / name / "1.0.0"
    prepared = open_dataset(name, tmp_path / "out")
    assert isinstance(prepared, PreparedSource)
    assert tuple(prepared.categories) == tuple(source.categories)
    assert prepared.shortfalls == source.shortfalls
    assert len(prepared) == len(source) == len(truths)
    for index in range(len(truths)):
        record, stored = source[index], prepared[index]
        assert stored["image"] == pathlib.Path(record["image"]).read_bytes()
        assert {**stored, "image": None, "mask": None} == {**record, "image": None, "mask": None}
        for ours, theirs in zip(read(record), read(stored), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for opened in (source, prepared):
        batches = list(iterate_batches(opened, batch_size=4, threads=2))
        assert not any(batch.failures for batch in batches)
        assert sum(int(batch.valid.sum()) for batch in batches) == len(truths)
    assert "tensorflow" not in sys.modules


def test_directory_above_and_inside(tree):
    name, root, truths = tree
    if name.startswith("real_iad"):
        return  # Its folder of photos is the tree.
    for above in (root.parent, root.parents[1]):
        assert len(open_dataset(name, above)) == len(truths)
    folder = next(path for path in sorted(root.iterdir()) if path.is_dir())
    with pytest.raises(DatasetError, match="as published"):
        open_dataset(name, folder)


def test_train_split(tree):
    name, root, _ = tree
    if name in ("mtd", "ksdd1"):
        with pytest.raises(DatasetError, match="holds no train photos"):
            open_dataset(name, root, split="train")
        return
    records = list(map(open_dataset(name, root, split="train").__getitem__, [0]))
    assert records[0]["name"].lower().count("train") or name in ("visa", "real_iad", "real_iad_sv")
    with pytest.raises(DatasetError, match="no split 'val'"):
        open_dataset(name, root, split="val")


def test_copies_that_the_archive_of_ksdd2_holds_are_no_photos(tmp_path):
    TREES["ksdd2"][1](tmp_path)
    source = open_dataset("ksdd2", tmp_path, split="train")
    assert [source[index]["name"] for index in range(2)] == ["train/10000.png", "train/10001.png"]
    assert len(source) == 2


def test_one_category(tmp_path):
    mvtec(tmp_path)
    for chosen in ("metal nut", "metal_nut"):
        source = open_dataset("mvtec", tmp_path, [chosen])
        assert source.categories == ("metal nut",)
        assert len(source) == 2
    with pytest.raises(DatasetError, match="no category 'tiles': did you mean 'tile'"):
        open_dataset("mvtec", tmp_path, ["tiles"])
    place = prepare(PUBLISHED["mvtec"], tmp_path)
    prepared = PreparedSource(PUBLISHED["mvtec"], place, ["tile"])
    assert [prepared[index]["category"] for index in range(len(prepared))] == ["tile"] * 3
    with pytest.raises(DatasetError, match="no category 'tiles': did you mean 'tile'"):
        PreparedSource(PUBLISHED["mvtec"], place, ["tiles"])


def test_toys_are_named_without_numbers(tmp_path):
    TREES["mad_sim"][1](tmp_path)
    for name in ("gorilla", "01Gorilla"):
        assert open_dataset("mad_sim", tmp_path, [name]).categories == ("gorilla",)


def test_all_published_names_are_data_sets():
    assert set(PUBLISHED) <= set(DATASETS)
    assert {name for name, _ in TREES.values()} == set(PUBLISHED)


def test_tfds_knows_the_builders_by_name(tmp_path):
    import tensorflow_datasets as tfds

    import zsas_jax.data.builders

    assert set(zsas_jax.data.builders.BUILDERS) == set(PUBLISHED)
    mvtec(tmp_path / "tree")
    builder = tfds.builder("mvtec", data_dir=tmp_path / "out", file_format="array_record")
    config = tfds.download.DownloadConfig(manual_dir=tmp_path / "tree")
    builder.download_and_prepare(download_config=config)
    assert builder.info.version == "1.0.0"
    assert builder.info.splits["test"].num_examples == 5
    first = builder.as_data_source("test")[0]
    assert first["image"].startswith(b"\x89PNG")
    assert first["defect"].decode() == "bent wire"
    assert builder.info.features["label"].int2str(first["label"]) == "anomalous"
    assert "tensorflow" not in sys.modules


def test_several_shards_keep_the_order(tmp_path, monkeypatch):
    import zsas_jax.data.builders as builders

    monkeypatch.setattr(builders, "_SHARD_BYTES", 500)
    TREES["dagm2007"][1](tmp_path / "tree")
    place = prepare(PUBLISHED["dagm2007"], tmp_path / "tree", tmp_path / "out")
    assert len(list(place.glob("dagm2007-test.array_record*"))) > 1
    prepared = PreparedSource(PUBLISHED["dagm2007"], place)
    tree = TreeSource(PUBLISHED["dagm2007"], tmp_path / "tree")
    names = [prepared[index]["name"] for index in range(len(tree))]
    assert names == [tree[index]["name"] for index in range(len(tree))]


# --- published numbers


@pytest.mark.parametrize(
    ("name", "train", "good", "anomalous"),
    [
        ("mvtec", 3629, 467, 1258),
        ("visa", 8659, 962, 1200),
        ("mtd", 0, 952, 392),
        ("ksdd1", 0, 347, 52),
        ("mpdd", 888, 176, 282),
        ("btad", 1799, 451, 290),
        ("dtd_synthetic", 1200, 357, 947),
        ("real_iad", 36465, 63256, 51329),
    ],
)
def test_published_totals(name, train, good, anomalous):
    counts = PUBLISHED[name].counts
    assert sum(c.number for c in counts if c.split == "train") == train
    for label, expected in ((False, good), (True, anomalous)):
        found = sum(c.number for c in counts if c.split == "test" and c.anomalous is label)
        assert found == expected


def test_published_categories():
    numbers = {name: len(dataset.categories) for name, dataset in PUBLISHED.items()}
    assert numbers == {
        "mvtec": 15,
        "visa": 12,
        "mtd": 1,
        "ksdd2": 1,
        "ksdd1": 1,
        "mpdd": 6,
        "btad": 3,
        "dagm2007": 10,
        "dtd_synthetic": 12,
        "real_iad": 30,
        "real_iad_sv": 30,
        "mad_sim": 20,
        "mad_real": 0,
    }


def test_incomplete_numbers_are_a_warning(tmp_path, caplog):
    mvtec(tmp_path)
    source = open_dataset("mvtec", tmp_path, ["tile"])
    assert source.shortfalls == [
        "tile test good: 1 photos, published 33",
        "tile test with defects: 2 photos, published 84",
    ]
    assert f"MVTec AD in {tmp_path} is not as published: tile test good" in caplog.text
    every = open_dataset("mvtec", tmp_path).shortfalls
    assert "category 'bottle' is missing" in every
    assert not any(phrase.startswith("bottle") for phrase in every)


def test_own_categories_in_a_published_layout(tmp_path):
    photo(tmp_path / "screws" / "test" / "good" / "0.png")
    source = open_dataset("mvtec", tmp_path)
    assert source.shortfalls == ["none of its categories is published (screws)"]
    assert compare_counts(PUBLISHED["mvtec"], source.items, "test", ["screws"]) == []


# --- damaged trees


def test_missing_mask(tmp_path):
    mvtec(tmp_path)
    (tmp_path / "tile" / "ground_truth" / "crack" / "000_mask.png").unlink()
    assert len(open_dataset("mvtec", tmp_path, ["metal_nut"])) == 2
    expected = r"000_mask\.png does not exist: expected the mask of tile/test/crack/000\.png"
    with pytest.raises(DatasetError, match=expected):
        open_dataset("mvtec", tmp_path)
    with pytest.raises(DatasetError, match=expected):
        prepare(PUBLISHED["mvtec"], tmp_path)


def test_name_that_is_not_utf8(tmp_path):
    mvtec(tmp_path)
    good = tmp_path / "tile" / "test" / "good"
    (good / "000.png").rename(good / os.fsdecode(b"f\xfcr.png"))
    with pytest.raises(DatasetError, match=r"holds tile/test/good/f\\xfcr\.png, whose name is not"):
        open_dataset("mvtec", tmp_path)


def test_photo_outside_of_the_folders_of_defects(tmp_path):
    mvtec(tmp_path)
    photo(tmp_path / "tile" / "test" / "stray.png")
    with pytest.raises(DatasetError, match=r"stray\.png lies in no folder of a defect"):
        open_dataset("mvtec", tmp_path)


def test_wrong_level_names_the_right_one(tmp_path):
    mvtec(tmp_path)
    for inside in ("tile", "tile/test"):
        with pytest.raises(DatasetError) as raised:
            open_dataset("mvtec", tmp_path / inside)
        assert f"a part of it, {inside}: expected the directory above it, {tmp_path}" in str(
            raised.value
        )
    TREES["mtd"][1](tmp_path / "mtd")
    with pytest.raises(DatasetError, match="a part of it, MT_Free: expected the directory above"):
        open_dataset("mtd", tmp_path / "mtd" / "MT_Free")
    with pytest.raises(DatasetError, match="nowhere does not exist: expected a directory"):
        open_dataset("mtd", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"not KSDD2 as published: expected \{train,test\}"):
        open_dataset("ksdd2", tmp_path / "empty")


def test_several_data_sets_side_by_side(tmp_path):
    for name in ("mvtec", "mpdd", "btad", "ksdd2"):
        TREES[name][1](tmp_path / name)
    assert "bracket black" in open_dataset("mpdd", tmp_path).categories
    assert "tile" in open_dataset("mvtec", tmp_path).categories
    assert len(open_dataset("ksdd2", tmp_path)) == 2
    TREES["mpdd"][1](tmp_path / "copy")
    with pytest.raises(DatasetError, match="holds MPDD more than once, in copy, mpdd: expected"):
        open_dataset("mpdd", tmp_path)


def test_visa_list(tmp_path):
    visa(tmp_path)
    path = tmp_path / "split_csv" / "1cls.csv"
    whole = path.read_text()
    (tmp_path / "candle" / "Data" / "Images" / "Normal" / "0001.JPG").unlink()
    assert len(open_dataset("visa", tmp_path)) == 3
    for old, new, expected in (
        ("label,image", "kind,image", "line 2, has no 'label': expected the columns object"),
        ("train,normal", "training,normal", "line 2, has split 'training'"),
        ("Masks/Anomaly/000.png", "", None),
    ):
        path.write_text(whole.replace(old, new, 1))
        if expected is not None:
            with pytest.raises(DatasetError, match=expected):
                open_dataset("visa", tmp_path)
    path.write_text(whole.replace("candle/Data/Masks/Anomaly/000.png", ""))
    with pytest.raises(DatasetError, match="has an anomaly and no mask"):
        open_dataset("visa", tmp_path)
    path.write_text("object,split,label,image,mask\n")
    with pytest.raises(DatasetError, match="holds no photos of VisA"):
        open_dataset("visa", tmp_path)
    path.write_bytes(b"object,split\n\xff\xfe\x80")
    with pytest.raises(DatasetError, match="is not a CSV file"):
        open_dataset("visa", tmp_path)
    path.unlink()
    with pytest.raises(DatasetError, match=r"1cls\.csv does not exist: expected VisA's list"):
        open_dataset("visa", tmp_path)


def test_real_iad_lists(tmp_path):
    TREES["real_iad"][1](tmp_path)
    assert len(open_dataset("real_iad", tmp_path / "realiad_1024")) == 3
    nested = tmp_path / "realiad_jsons" / "realiad_jsons" / "bottle_cap.json"
    whole = nested.read_text()
    nested.write_text(whole[:100])
    with pytest.raises(DatasetError, match=r"bottle_cap\.json is no complete JSON file"):
        open_dataset("real_iad", tmp_path)
    nested.write_text('{"train": []}')
    with pytest.raises(DatasetError, match=r"bottle_cap\.json has another structure"):
        open_dataset("real_iad", tmp_path)
    nested.rename(tmp_path / "realiad_jsons" / "bottle_cap.json")
    (tmp_path / "realiad_jsons" / "bottle_cap.json").write_text(whole)
    assert len(open_dataset("real_iad", tmp_path)) == 3
    photo(tmp_path / "realiad_1024" / "pcb" / "OK" / "S0001" / "pcb.jpg")
    with pytest.raises(DatasetError, match=r"pcb\.json does not exist: expected the list"):
        open_dataset("real_iad", tmp_path)
    (tmp_path / "realiad_1024").rename(tmp_path / "realiad_512")
    photo(tmp_path / "realiad_256" / "bottle_cap" / "OK" / "S0001" / "a.jpg")
    photo(tmp_path / "realiad_256" / "pcb" / "OK" / "S0001" / "a.jpg")
    with pytest.raises(DatasetError, match="more than once, in realiad_256, realiad_512"):
        open_dataset("real_iad", tmp_path)
    (tmp_path / "realiad_jsons" / "bottle_cap.json").unlink()
    with pytest.raises(DatasetError, match="holds no lists of photos: expected <object>"):
        open_dataset("real_iad", tmp_path / "realiad_256")


def test_damaged_mask_that_decides_is_left_to_its_reader(tmp_path):
    TREES["ksdd2"][1](tmp_path)
    (tmp_path / "test" / "20001_GT.png").write_bytes(b"")
    source = open_dataset("ksdd2", tmp_path)
    record = source[1]
    assert record["label"] == 1
    from zsas_jax.errors import ImageError

    with pytest.raises(ImageError, match=r"20001_GT\.png is empty"):
        decode_mask(record["mask"])
    (tmp_path / "test" / "20001_GT.png").unlink()
    with pytest.raises(DatasetError, match=r"20001_GT\.png does not exist"):
        open_dataset("ksdd2", tmp_path)


@pytest.mark.parametrize("size", [60, 0])
def test_truncated_photo_is_a_failure_of_its_own(tmp_path, size):
    mvtec(tmp_path)
    path = tmp_path / "tile" / "test" / "good" / "000.png"
    path.write_bytes(path.read_bytes()[:size])
    place = prepare(PUBLISHED["mvtec"], tmp_path, tmp_path / "out")
    for source in (open_dataset("mvtec", tmp_path), PreparedSource(PUBLISHED["mvtec"], place)):
        batches = list(iterate_batches(source, batch_size=8, threads=2))
        failures = [failure for batch in batches for failure in batch.failures]
        assert [failure.name for failure in failures] == ["tile/test/good/000.png"]


def test_threshold_of_small_numbers(tmp_path):
    """A mask of ones is a whole defect in VisA and none in MTD."""
    mask(tmp_path / "m.png", (1, 1))
    from zsas_jax.data.images import MaskFile

    assert decode_mask(MaskFile(tmp_path / "m.png", 0)).sum() == 2
    assert decode_mask(MaskFile((tmp_path / "m.png").read_bytes(), 127)).sum() == 0
    assert PUBLISHED["visa"].mask_threshold == 0
    assert PUBLISHED["mtd"].mask_threshold == 127


def test_real_pictures(samples, tmp_path):
    source = open_dataset("mtd", samples / "mtd")
    assert len(source) == 12
    place = prepare(PUBLISHED["mtd"], samples / "mtd", tmp_path)
    prepared = PreparedSource(PUBLISHED["mtd"], place)
    assert sum(prepared[index]["label"] for index in range(12)) == 10
    for index in range(12):
        record = source[index]
        if record["mask"] is not None:
            truth = decode_mask(record["mask"])
            assert truth.shape == image_size(record["image"])
            assert 0 < truth.mean() < 0.7
            np.testing.assert_array_equal(decode_mask(prepared[index]["mask"]), truth)


# --- damaged prepared data


def test_damaged_prepared_data(tmp_path):
    tree, out = tmp_path / "tree", tmp_path / "out"
    mvtec(tree)
    dataset = PUBLISHED["mvtec"]
    place = prepare(dataset, tree, out)
    assert prepare(dataset, tree, out) == place  # Nothing to do.
    assert find_prepared(dataset, out) == find_prepared(dataset, place) == place
    assert find_prepared(dataset, out / "mvtec") == place
    photo(tree / "tile" / "test" / "good" / "001.png")
    with pytest.raises(DatasetError, match="was prepared from other files than"):
        prepare(dataset, tree, out)

    with pytest.raises(DatasetError, match="is the data set 'mvtec': expected 'mtd'"):
        open_dataset("mtd", place)
    shard = next(place.glob("mvtec-test.array_record*"))
    whole = shard.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-5], b"", None):
        if damaged is None:
            shard.unlink()
        else:
            shard.write_bytes(damaged)
        source = open_dataset("mvtec", out)
        with pytest.raises(DatasetError, match="damaged record of metal_nut/test/bent wire/größe"):
            source[0]
        batches = list(iterate_batches(source, threads=1))
        assert sum(len(batch.failures) for batch in batches) == 5
    shard.write_bytes(whole)
    index = place / "metadata.json"
    index.write_text(index.read_text()[:50])
    with pytest.raises(DatasetError, match=r"metadata\.json is no index of prepared data"):
        open_dataset("mvtec", out)
    place.rename(place.with_name("0.9.0"))
    with pytest.raises(DatasetError, match=r"holds version 0\.9\.0 of MVTec AD: expected version"):
        open_dataset("mvtec", out)
    assert not list(out.glob("**/*incomplete*"))


def test_photo_of_a_mask_that_does_not_fit_is_found_by_its_reader(tmp_path):
    visa(tmp_path)
    mask(tmp_path / "candle" / "Data" / "Masks" / "Anomaly" / "000.png", (1,))
    record = open_dataset("visa", tmp_path, ["candle"])[0]
    assert decode_mask(record["mask"]).shape != image_size(record["image"])
    assert PIL.Image.open(record["image"]).size == (8, 6)
