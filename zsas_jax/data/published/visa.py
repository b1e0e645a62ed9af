"""VisA, as released or reorganised into the layout of MVTec AD.

Released: `<category>/Data/Images/{Normal,Anomaly}/*.JPG`, `<category>/Data/Masks/Anomaly/*.png`,
and `split_csv/1cls.csv` that names them all. Reorganised: `<category>/test/{good,bad}/*.JPG` with
the masks `<category>/ground_truth/bad/<stem>.png`. Masks hold small numbers: above 0 is anomalous.
"""

import csv
import pathlib
from collections.abc import Iterator

from zsas_jax.data.description import GOOD, Dataset, Item, subfolders
from zsas_jax.data.published.mvtec import MASKS, counts_by_category, mvtec_folders, read_mvtec
from zsas_jax.errors import DatasetError

SPLIT_FILE = "split_csv/1cls.csv"
_COLUMNS = ("object", "split", "label", "image", "mask")
_LABELS = ("normal", "anomaly")

# Train, good test, anomalous test: 8659 + 962 + 1200 photos.
_COUNTS = {
    "candle": (900, 100, 100),
    "capsules": (542, 60, 100),
    "cashew": (450, 50, 100),
    "chewinggum": (453, 50, 100),
    "fryum": (450, 50, 100),
    "macaroni1": (900, 100, 100),
    "macaroni2": (900, 100, 100),
    "pcb1": (904, 100, 100),
    "pcb2": (901, 100, 100),
    "pcb3": (905, 101, 100),
    "pcb4": (904, 101, 100),
    "pipe_fryum": (450, 50, 100),
}


def _released(root: pathlib.Path) -> list[str]:
    return [path.name for path in subfolders(root) if (path / "Data" / "Images").is_dir()]


def _folders(root: pathlib.Path) -> list[str]:
    return _released(root) or mvtec_folders(root)


def _read(root: pathlib.Path) -> Iterator[Item]:
    return _read_split(root) if _released(root) else read_mvtec(root, mask_suffix="")


def _read_split(root: pathlib.Path) -> Iterator[Item]:
    path = root / SPLIT_FILE
    if not path.is_file():
        raise DatasetError(
            f"{path} does not exist: expected VisA's list of photos with the columns "
            f"{', '.join(_COLUMNS)}"
        )
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is not a CSV file ({error}): expected VisA's list") from error
    for number, row in enumerate(rows, start=2):
        wrong = [name for name in _COLUMNS if row.get(name) is None]
        if wrong:
            raise DatasetError(
                f"{path}, line {number}, has no {wrong[0]!r}: expected the columns "
                f"{', '.join(_COLUMNS)}"
            )
        if row["split"] not in ("train", "test") or row["label"] not in _LABELS:
            raise DatasetError(
                f"{path}, line {number}, has split {row['split']!r} and label {row['label']!r}: "
                "expected train or test, and normal or anomaly"
            )
        anomalous = row["label"] == "anomaly"
        if anomalous and not row["mask"]:
            raise DatasetError(f"{path}, line {number}, has an anomaly and no mask: expected one")
        yield Item(
            row["image"],
            row["object"],
            row["split"],
            "bad" if anomalous else GOOD,
            row["mask"] if anomalous else None,
        )


VISA = Dataset(
    name="visa",
    title="VisA",
    layout=f"<category>/Data/Images/ with {SPLIT_FILE}, or <category>/test/{{good,bad}}/ and "
    "<category>/ground_truth/bad/<stem>.png",
    folders=_folders,
    read=_read,
    masks=("*/Data/Masks/Anomaly/*", *MASKS),
    mask_threshold=0,
    categories=tuple(_COUNTS),
    counts=counts_by_category(_COUNTS),
    archives=("VisA_20220922.tar",),
    sha256={
        "VisA_20220922.tar": "2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362"
    },
    citation="Zou et al., SPot-the-Difference, ECCV 2022",
)
