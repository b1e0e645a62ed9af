"""Published archives: found, unpacked safely or refused."""

import io
import pathlib
import tarfile
import zipfile

import pytest
from miniature import TREES

from zsas_jax.data.archives import checksum_problem, find_archives, unpack
from zsas_jax.data.prepared import PreparedSource, prepare
from zsas_jax.data.published import PUBLISHED
from zsas_jax.data.registry import open_dataset
from zsas_jax.errors import DatasetError


def pack(tree: pathlib.Path, archive: pathlib.Path, inside: str) -> None:
    """Packs a tree into an archive of the suffix's format, in the folder `inside`."""
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    names = [(pathlib.PurePosixPath(inside) / path.relative_to(tree)).as_posix() for path in files]
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path, name in zip(files, names, strict=True):
                file.write(path, name)
        return
    with tarfile.open(archive, f"w:{archive.suffix[1:].replace('tar', '')}") as file:
        for path, name in zip(files, names, strict=True):
            file.add(path, name)


@pytest.mark.parametrize(
    ("name", "archive", "inside"),
    [
        ("mvtec", "mvtec_anomaly_detection.tar.xz", "."),
        ("mvtec", "mvtec_anomaly_detection.tar.xz", "mvtec_anomaly_detection"),
        ("visa", "VisA_20220922.tar", "."),
        ("mtd", "Magnetic-tile-defect-datasets.-master.zip", "Magnetic-tile-defect"),
        ("ksdd2", "KolektorSDD2.zip", "."),
        ("ksdd1", "KolektorSDD.zip", "."),
        ("btad", "btad.zip", "BTech_Dataset_transformed"),
        ("dagm2007", "DAGM_KaggleUpload.zip", "DAGM_KaggleUpload"),
        ("mad_sim", "MAD-Sim.zip", "MAD-Sim"),
    ],
)
def test_prepare_unpacks_the_published_archive(tmp_path, name, archive, inside):
    tree, downloads = tmp_path / "tree", tmp_path / "downloads"
    truths = TREES[name][1](tree)
    pack(tree, downloads / archive, inside)
    with pytest.raises(DatasetError, match=f"found its archive {archive}: unpack it, or run"):
        open_dataset(name, downloads)
    place = prepare(PUBLISHED[name], downloads, tmp_path / "out")
    assert len(PreparedSource(PUBLISHED[name], place)) == len(truths)
    assert len(open_dataset(name, downloads)) == len(truths)  # The unpacked tree.
    assert not list(downloads.glob(".*"))
    assert prepare(PUBLISHED[name], downloads, tmp_path / "out") == place


def test_archives_in_parts(tmp_path):
    tree, downloads = tmp_path / "tree", tmp_path / "Real-IAD"
    truths = TREES["real_iad"][1](tree)
    pack(tree / "realiad_jsons", downloads / "realiad_jsons.zip", "realiad_jsons")
    pack(
        tree / "realiad_1024" / "bottle_cap",
        downloads / "realiad_1024" / "bottle_cap.zip",
        "bottle_cap",
    )
    place = prepare(PUBLISHED["real_iad"], downloads)
    assert place == downloads / "prepared" / "real_iad" / "1.0.0"
    assert len(open_dataset("real_iad", downloads)) == len(truths)


def test_truncated_archives(tmp_path):
    TREES["mvtec"][1](tmp_path / "tree")
    for name, dataset in (
        ("mvtec_anomaly_detection.tar.xz", "mvtec"),
        ("btad.zip", "btad"),
        ("VisA_20220922.tar", "visa"),
    ):
        downloads = tmp_path / dataset
        archive = downloads / name
        pack(tmp_path / "tree", archive, ".")
        archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
        with pytest.raises(DatasetError, match=r"is truncated or damaged .*: expected a complete"):
            prepare(PUBLISHED[dataset], downloads)
        assert [path.name for path in downloads.iterdir()] == [name]  # Nothing half done.
    (downloads / name).write_bytes(b"<html>404</html>")
    with pytest.raises(DatasetError, match="is truncated or damaged"):
        prepare(PUBLISHED[dataset], downloads)


def test_files_that_would_land_elsewhere(tmp_path):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as file:
        info = tarfile.TarInfo("../escaped.txt")
        info.size = 1
        file.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(DatasetError, match="would land outside of its folder"):
        unpack(archive)
    link = tmp_path / "b.tar"
    with tarfile.open(link, "w") as file:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(info)
    with pytest.raises(DatasetError, match="would land outside of its folder"):
        unpack(link)
    for name in ("../escaped.txt", "/escaped.txt", "a/../../escaped.txt", "C:\\escaped.txt"):
        packed = tmp_path / "c.zip"
        with zipfile.ZipFile(packed, "w") as file:
            file.writestr(name, "x")
        with pytest.raises(DatasetError, match="would land outside of its folder"):
            unpack(packed)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "b.tar", "c.zip"]


def test_an_archive_may_name_its_own_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as file:
        file.writestr("./", "")
        file.writestr("./photo.txt", "x")
    assert (unpack(tmp_path / "d.zip") / "photo.txt").read_text() == "x"


def test_a_folder_in_the_way_is_not_touched(tmp_path):
    """A half-unpacked folder is reported with what is missing, never mended in silence."""
    TREES["ksdd2"][1](tmp_path / "tree")
    pack(tmp_path / "tree", tmp_path / "d" / "KolektorSDD2.zip", ".")
    (tmp_path / "d" / "KolektorSDD2" / "train").mkdir(parents=True)
    with pytest.raises(DatasetError, match="is there already: expected nothing where"):
        unpack(tmp_path / "d" / "KolektorSDD2.zip")
    with pytest.raises(DatasetError, match=r"KolektorSDD2 is there and is not KSDD2 .* or removed"):
        prepare(PUBLISHED["ksdd2"], tmp_path / "d")
    assert not list((tmp_path / "d" / "KolektorSDD2" / "train").iterdir())


def test_read_only_directory(tmp_path):
    TREES["ksdd2"][1](tmp_path / "tree")
    pack(tmp_path / "tree", tmp_path / "d" / "KolektorSDD2.zip", ".")
    (tmp_path / "d" / ".KolektorSDD2.part").write_text("in the way")
    with pytest.raises(DatasetError, match=r"cannot be unpacked .*: expected a readable archive"):
        unpack(tmp_path / "d" / "KolektorSDD2.zip")


def test_checksum(tmp_path, caplog):
    TREES["btad"][1](tmp_path / "tree")
    archive = tmp_path / "d" / "btad.zip"
    pack(tmp_path / "tree", archive, "BTech_Dataset_transformed")
    assert "published 461c9387" in (checksum_problem(PUBLISHED["btad"], archive) or "")
    assert find_archives(PUBLISHED["btad"], archive.parent) == [archive]
    prepare(PUBLISHED["btad"], archive.parent)
    assert "has the SHA-256" in caplog.text
    other = archive.rename(archive.with_name("other.zip"))
    assert checksum_problem(PUBLISHED["btad"], other) is None
    assert find_archives(PUBLISHED["btad"], archive.parent) == []
