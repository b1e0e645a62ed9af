"""MVTec AD and the data sets in its layout.

`<category>/train/good/*`, `<category>/test/{good,<defect>}/*` and the masks
`<category>/ground_truth/<defect>/<stem>_mask.png`. BTAD calls good parts `ok` and masks like their
photos, in mixed formats; so does VisA's reorganised form (`bad`).
"""

import pathlib
from collections.abc import Iterator, Mapping

from zsas_jax.data.description import GOOD_FOLDERS, Count, Dataset, Item, photos_in, subfolders
from zsas_jax.errors import DatasetError

LAYOUT = "<category>/test/<defect>/*.png and <category>/ground_truth/<defect>/*_mask.png"
MASKS = ("*/ground_truth/*/*",)


def mvtec_folders(root: pathlib.Path) -> list[str]:
    """Category folders: those that have a folder `test`."""
    return [path.name for path in subfolders(root) if (path / "test").is_dir()]


def read_mvtec(root: pathlib.Path, mask_suffix: str = "_mask") -> Iterator[Item]:
    """The photos of the layout; a mask has its photo's stem and `mask_suffix`, in any format.

    Raises:
        DatasetError: a photo in `train` or `test` itself, in no folder of a defect.
    """
    for folder in mvtec_folders(root):
        for split in ("train", "test"):
            top = root / folder / split
            if stray := photos_in(top):
                raise DatasetError(
                    f"{top / stray[0]} lies in no folder of a defect: expected {LAYOUT}"
                )
            for kind in subfolders(top):
                truth = f"{folder}/ground_truth/{kind.name}"
                masks = {pathlib.Path(name).stem: name for name in photos_in(root / truth)}
                for name in photos_in(kind):
                    image = f"{folder}/{split}/{kind.name}/{name}"
                    if kind.name in GOOD_FOLDERS:
                        yield Item(image, folder, split)
                        continue
                    stem = pathlib.Path(name).stem + mask_suffix
                    # In train/ it is the folder's name alone that tells of a defect.
                    mask = masks.get(stem, f"{stem}.png") if split == "test" else None
                    yield Item(
                        image, folder, split, kind.name, None if mask is None else f"{truth}/{mask}"
                    )


def counts_by_category(table: Mapping[str, tuple[int, int, int]]) -> tuple[Count, ...]:
    """Counts from rows (train, good test, anomalous test)."""
    return tuple(
        count
        for category, (train, good, anomalous) in table.items()
        for count in (
            Count(train, "train", category),
            Count(good, "test", category, anomalous=False),
            Count(anomalous, "test", category, anomalous=True),
        )
    )


def _totals(train: int, good: int, anomalous: int) -> tuple[Count, ...]:
    return (
        Count(train, "train"),
        Count(good, "test", anomalous=False),
        Count(anomalous, "test", anomalous=True),
    )


# Train, good test, anomalous test: 3629 + 467 + 1258 photos.
_MVTEC = {
    "bottle": (209, 20, 63),
    "cable": (224, 58, 92),
    "capsule": (219, 23, 109),
    "carpet": (280, 28, 89),
    "grid": (264, 21, 57),
    "hazelnut": (391, 40, 70),
    "leather": (245, 32, 92),
    "metal_nut": (220, 22, 93),
    "pill": (267, 26, 141),
    "screw": (320, 41, 119),
    "tile": (230, 33, 84),
    "toothbrush": (60, 12, 30),
    "transistor": (213, 60, 40),
    "wood": (247, 19, 60),
    "zipper": (240, 32, 119),
}
# 888 + 176 + 282 photos.
_MPDD = {
    "bracket_black": (289, 32, 47),
    "bracket_brown": (185, 26, 51),
    "bracket_white": (110, 30, 30),
    "connector": (128, 30, 14),
    "metal_plate": (54, 26, 71),
    "tubes": (122, 32, 69),
}
# 1799 + 451 + 290 photos; the published 2830 images count the 290 masks too.
_BTAD = {"01": (400, 21, 49), "02": (399, 30, 200), "03": (1000, 400, 41)}

MVTEC = Dataset(
    name="mvtec",
    title="MVTec AD",
    layout=LAYOUT,
    folders=mvtec_folders,
    read=read_mvtec,
    masks=MASKS,
    categories=tuple(_MVTEC),
    counts=counts_by_category(_MVTEC),
    numbered=True,
    archives=("mvtec_anomaly_detection.tar.xz",),
    sha256={
        "mvtec_anomaly_detection.tar.xz": (
            "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d"
        )
    },
    citation="Bergmann et al., MVTec AD, CVPR 2019",
)

MPDD = Dataset(
    name="mpdd",
    title="MPDD",
    layout=LAYOUT,
    folders=mvtec_folders,
    read=read_mvtec,
    masks=MASKS,
    mask_threshold=0,
    categories=tuple(_MPDD),
    counts=counts_by_category(_MPDD),
    archives=("MPDD.zip", "MPDD.tar*"),
    citation="Jezek et al., Deep learning-based defect detection of metal parts, ICUMT 2021",
)

BTAD = Dataset(
    name="btad",
    title="BTAD",
    layout="<product>/test/{ok,ko}/*.{bmp,png} and <product>/ground_truth/ko/ masks named alike",
    folders=mvtec_folders,
    read=lambda root: read_mvtec(root, mask_suffix=""),
    masks=MASKS,
    mask_threshold=0,
    categories=tuple(_BTAD),
    counts=counts_by_category(_BTAD),
    archives=("btad.zip", "BTech_Dataset_transformed.zip"),
    sha256={"btad.zip": "461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a"},
    citation="Mishra et al., VT-ADL, ISIE 2021",
)

_DTD = (
    "Blotchy_099",
    "Fibrous_183",
    "Marbled_078",
    "Matted_069",
    "Mesh_114",
    "Perforated_037",
    "Stratified_154",
    "Woven_001",
    "Woven_068",
    "Woven_104",
    "Woven_125",
    "Woven_127",
)
DTD_SYNTHETIC = Dataset(
    name="dtd_synthetic",
    title="DTD-Synthetic",
    layout=LAYOUT,
    folders=mvtec_folders,
    read=read_mvtec,
    masks=MASKS,
    mask_threshold=0,
    categories=_DTD,
    counts=_totals(1200, 357, 947),
    archives=("DTD-Synthetic.zip", "DTD-Synthetic.tar*", "dtd_synthetic.zip"),
    citation="Aota et al., Zero-shot versus many-shot, WACV 2023",
)

# fmt: off
_MAD = (
    "01Gorilla", "02Unicorn", "03Mallard", "04Turtle", "05Whale", "06Bird", "07Owl",
    "08Sabertooth", "09Swan", "10Sheep", "11Pig", "12Zalika", "13Pheonix", "14Elephant",
    "15Parrot", "16Cat", "17Scorpion", "18Obesobeso", "19Bear", "20Puppy",
)
# fmt: on


def _toy(folder: str) -> str:
    """The toy without its number: a gorilla for "01Gorilla"."""
    return folder.lstrip("0123456789").replace("_", " ").strip().lower() or folder


MAD_SIM = Dataset(
    name="mad_sim",
    title="MAD-Sim",
    layout="<number><Toy>/test/{good,Burrs,Missing,Stains}/0.png and "
    "<number><Toy>/ground_truth/<defect>/0_mask.png",
    folders=mvtec_folders,
    read=read_mvtec,
    masks=MASKS,
    mask_threshold=0,
    categories=_MAD,
    words=_toy,
    counts=(Count(4000, "train", at_least=True),),
    archives=("MAD-Sim.zip", "MAD-Sim.tar*"),
    citation="Zhou et al., PAD, NeurIPS 2023",
)

MAD_REAL = Dataset(
    name="mad_real",
    title="MAD-Real",
    layout=LAYOUT,
    folders=mvtec_folders,
    read=read_mvtec,
    masks=MASKS,
    mask_threshold=0,
    words=_toy,
    archives=("MAD-Real.zip", "MAD-Real.tar*"),
    citation="Zhou et al., PAD, NeurIPS 2023",
)
