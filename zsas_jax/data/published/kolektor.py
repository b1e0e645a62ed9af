"""The Kolektor surface-defect data sets, labelled by their masks: above 0 anywhere is a defect.

KSDD2: `{train,test}/<number>.png` and `<number>_GT.png`. KSDD1: `kos<number>/Part<number>.jpg` and
`Part<number>_label.bmp`; it has no official split, so that all photos are test photos.
"""

import pathlib
from collections.abc import Iterator

from zsas_jax.data.description import SPLITS, Count, Dataset, Item, photos_in, subfolders

SURFACE = "surface"
COMMUTATOR = "electrical_commutator"


def _ksdd2_folders(root: pathlib.Path) -> list[str]:
    truths = (next((root / split).glob("*_GT.png"), None) for split in SPLITS)
    return [SURFACE] if any(truth is not None for truth in truths) else []


def _read_ksdd2(root: pathlib.Path) -> Iterator[Item]:
    for split in SPLITS:
        for name in photos_in(root / split, [".png"]):
            stem = pathlib.Path(name).stem
            if stem.isdigit():  # The archive holds a "10301 (copy).png", with its mask.
                yield Item(f"{split}/{name}", SURFACE, split, None, f"{split}/{stem}_GT.png")


def _parts(root: pathlib.Path) -> list[pathlib.Path]:
    return [
        path
        for path in subfolders(root)
        if path.name[:3] == "kos" and path.name[3:].isdigit() and photos_in(path, [".jpg"])
    ]


def _ksdd1_folders(root: pathlib.Path) -> list[str]:
    return [COMMUTATOR] if _parts(root) else []


def _read_ksdd1(root: pathlib.Path) -> Iterator[Item]:
    for part in _parts(root):
        # Converted copies of the masks are PNG files.
        masks = {pathlib.Path(name).stem: name for name in photos_in(part, [".bmp", ".png"])[::-1]}
        for name in photos_in(part, [".jpg"]):
            stem = f"{pathlib.Path(name).stem}_label"
            mask = f"{part.name}/{masks.get(stem, f'{stem}.bmp')}"
            yield Item(f"{part.name}/{name}", COMMUTATOR, defect=None, mask=mask)


KSDD2 = Dataset(
    name="ksdd2",
    title="KSDD2",
    layout="{train,test}/<number>.png with the mask <number>_GT.png beside it",
    folders=_ksdd2_folders,
    read=_read_ksdd2,
    masks=("train/*_GT.png", "test/*_GT.png"),
    mask_threshold=0,
    categories=(SURFACE,),
    counts=(
        Count(2085, "train", anomalous=False),
        Count(246, "train", anomalous=True),
        Count(894, "test", anomalous=False),
        Count(110, "test", anomalous=True),
    ),
    archives=("KolektorSDD2.zip",),
    citation="Bozic et al., Mixed supervision for surface-defect detection, 2021",
)

KSDD1 = Dataset(
    name="ksdd1",
    title="KSDD1",
    layout="kos<number>/Part<number>.jpg with the mask Part<number>_label.bmp beside it",
    folders=_ksdd1_folders,
    read=_read_ksdd1,
    masks=("kos*/*_label.*",),
    mask_threshold=0,
    categories=(COMMUTATOR,),
    counts=(Count(347, "test", anomalous=False), Count(52, "test", anomalous=True)),
    archives=("KolektorSDD.zip",),
    sha256={"KolektorSDD.zip": "65dc621693418585de9c4467d1340ea7958a6181816f0dc2883a1e8b61f9d4dc"},
    citation="Tabernik et al., Segmentation-based deep-learning approach, 2019",
)
