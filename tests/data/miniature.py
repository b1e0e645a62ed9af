"""Miniature trees of the published data sets, in exactly their layout and with their traps."""

import csv
import dataclasses
import json
import pathlib
import zlib
from collections.abc import Callable

import numpy as np
import PIL.Image

WIDTH, HEIGHT = 8, 6


@dataclasses.dataclass(frozen=True)
class Truth:
    """What the record of one photo says."""

    name: str
    category: str
    defect: str
    pixels: int | None  # anomalous ones; None without a mask


def photo(path: pathlib.Path, mode: str = "RGB", **options) -> None:
    """A photo whose pixels follow from its name, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(zlib.crc32(path.name.encode()))
    size = options.pop("size", (WIDTH, HEIGHT))
    pixels = generator.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    image = PIL.Image.fromarray(pixels)
    image.convert(mode).save(path, **options)


def mask(path: pathlib.Path, values=(255, 255), size=(WIDTH, HEIGHT)) -> None:
    """A mask that holds these values in its first row, and zeros."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[0, : len(values)] = values
    PIL.Image.fromarray(pixels).save(path)


def _mvtec_layout(root, category, defect, name, **options) -> None:
    folder = root / category
    photo(folder / "train" / "good" / f"000{options.get('suffix', '.png')}")
    photo(folder / "test" / "good" / "000.png")
    photo(folder / "test" / defect / f"{name}.png")
    mask(folder / "ground_truth" / defect / f"{name}_mask.png", options.get("values", (255, 255)))


def mvtec(root: pathlib.Path) -> list[Truth]:
    """Names with spaces and letters of other alphabets, a palette, and files that are no photos."""
    _mvtec_layout(root, "metal_nut", "bent wire", "größe 1")
    _mvtec_layout(root, "tile", "crack", "000")
    photo(root / "tile" / "test" / "crack" / "001.png", "P")
    mask(root / "tile" / "ground_truth" / "crack" / "001_mask.png", (255,) * 5)
    (root / "license.txt").write_text("CC BY-NC-SA 4.0")
    (root / "tile" / "test" / "crack" / ".DS_Store").write_bytes(b"junk")
    (root / "tile" / "test" / "crack" / "Thumbs.db").write_bytes(b"junk")
    return [
        Truth("metal_nut/test/bent wire/größe 1.png", "metal nut", "bent wire", 2),
        Truth("metal_nut/test/good/000.png", "metal nut", "good", None),
        Truth("tile/test/crack/000.png", "tile", "crack", 2),
        Truth("tile/test/crack/001.png", "tile", "crack", 5),
        Truth("tile/test/good/000.png", "tile", "good", None),
    ]


def visa(root: pathlib.Path) -> list[Truth]:
    """As released: a list of files, upside-down photos, and masks that hold small numbers."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    rows = [("object", "split", "label", "image", "mask")]
    for category in ("candle", "pipe_fryum"):
        data = f"{category}/Data"
        for number, split in enumerate(("train", "test")):
            image = f"{data}/Images/Normal/{number:04d}.JPG"
            photo(root / image)
            rows.append((category, split, "normal", image, ""))
        image, truth = f"{data}/Images/Anomaly/000.JPG", f"{data}/Masks/Anomaly/000.png"
        photo(root / image, exif=exif)
        mask(root / truth, (1, 2, 3), size=(HEIGHT, WIDTH))
        rows.append((category, "test", "anomaly", image, truth))
    (root / "split_csv").mkdir()
    with open(root / "split_csv" / "1cls.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    (root / "split_csv" / "2cls_fewshot.csv").write_text("object,split,label,image,mask\n")
    return [
        truth
        for folder, category in (("candle", "candle"), ("pipe_fryum", "pipe fryum"))
        for truth in (
            Truth(f"{folder}/Data/Images/Anomaly/000.JPG", category, "bad", 3),
            Truth(f"{folder}/Data/Images/Normal/0001.JPG", category, "good", None),
        )
    ]


def visa_reorganised(root: pathlib.Path) -> list[Truth]:
    """Masks named like their photos, in another format."""
    photo(root / "pcb1" / "train" / "good" / "0000.JPG")
    photo(root / "pcb1" / "test" / "good" / "0001.JPG")
    photo(root / "pcb1" / "test" / "bad" / "000.JPG")
    mask(root / "pcb1" / "ground_truth" / "bad" / "000.png", (1, 4))
    return [
        Truth("pcb1/test/bad/000.JPG", "pcb1", "bad", 2),
        Truth("pcb1/test/good/0001.JPG", "pcb1", "good", None),
    ]


def mtd(root: pathlib.Path) -> list[Truth]:
    """Grey edges, masks of good parts that are all zero, and a defect with an empty mask."""
    for kind in ("Blowhole", "Break", "Crack", "Fray", "Free", "Uneven"):
        photo(root / f"MT_{kind}" / "Imgs" / "exp1_num_1.jpg", "L")
        values = {"Free": (), "Uneven": ()}.get(kind, (255, 200, 128, 127, 60))
        mask(root / f"MT_{kind}" / "Imgs" / "exp1_num_1.png", values)
    (root / "README.md").write_text("Magnetic tile defects")
    return [
        Truth(f"MT_{kind}/Imgs/exp1_num_1.jpg", "magnetic tile", defect, pixels)
        for kind, defect, pixels in (
            ("Blowhole", "MT_Blowhole", 3),
            ("Break", "MT_Break", 3),
            ("Crack", "MT_Crack", 3),
            ("Fray", "MT_Fray", 3),
            ("Free", "good", None),
            ("Uneven", "MT_Uneven", 0),
        )
    ]


def ksdd2(root: pathlib.Path) -> list[Truth]:
    """Masks beside photos of the same format, which alone tell of a defect; copies by mistake."""
    for split, number, values in (
        ("train", 10000, ()),
        ("train", 10001, (255,)),
        ("test", 20000, (0, 255, 255)),
        ("test", 20001, ()),
    ):
        photo(root / split / f"{number}.png")
        mask(root / split / f"{number}_GT.png", values)
    photo(root / "train" / "10301 (copy).png")
    mask(root / "train" / "10301_GT (copy).png")
    return [
        Truth("test/20000.png", "surface", "defect", 2),
        Truth("test/20001.png", "surface", "good", None),
    ]


def ksdd1(root: pathlib.Path) -> list[Truth]:
    """Masks in another format than the photos."""
    for part, values in ((0, ()), (1, (255, 255)), (2, (1,))):
        photo(root / "kos01" / f"Part{part}.jpg", "L")
        mask(root / "kos01" / f"Part{part}_label.bmp", values)
    return [
        Truth("kos01/Part0.jpg", "electrical commutator", "good", None),
        Truth("kos01/Part1.jpg", "electrical commutator", "defect", 2),
        Truth("kos01/Part2.jpg", "electrical commutator", "defect", 1),
    ]


def mpdd(root: pathlib.Path) -> list[Truth]:
    """A photo in CMYK."""
    _mvtec_layout(root, "bracket_black", "scratches", "000")
    photo(root / "bracket_black" / "test" / "good" / "001.jpg", "CMYK")
    return [
        Truth("bracket_black/test/good/000.png", "bracket black", "good", None),
        Truth("bracket_black/test/good/001.jpg", "bracket black", "good", None),
        Truth("bracket_black/test/scratches/000.png", "bracket black", "scratches", 2),
    ]


def btad(root: pathlib.Path) -> list[Truth]:
    """Good parts are `ok`; masks lack `_mask`; formats are mixed."""
    for product, image, truth in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        photo(root / product / "train" / "ok" / f"0000.{image}")
        photo(root / product / "test" / "ok" / f"0000.{image}")
        photo(root / product / "test" / "ko" / f"0001.{image}")
        mask(root / product / "ground_truth" / "ko" / f"0001.{truth}")
    return [
        truth
        for product, image in (("01", "bmp"), ("02", "png"), ("03", "bmp"))
        for truth in (
            Truth(f"{product}/test/ko/0001.{image}", product, "ko", 2),
            Truth(f"{product}/test/ok/0000.{image}", product, "good", None),
        )
    ]


def dagm2007(root: pathlib.Path) -> list[Truth]:
    """Good photos have no label; names are in capitals."""
    for folder in ("Class1", "Class10"):
        for half in ("Train", "Test"):
            for number in (1, 2):
                photo(root / folder / half / f"{number:04d}.PNG", "L")
            mask(root / folder / half / "Label" / "0002_label.PNG", (255, 255, 255))
            (root / folder / half / "Label" / "Labels.txt").write_text("1\n")
    return [
        truth
        for folder in ("Class1", "Class10")
        for truth in (
            Truth(f"{folder}/Test/0001.PNG", folder, "good", None),
            Truth(f"{folder}/Test/0002.PNG", folder, "defect", 3),
        )
    ]


def dtd_synthetic(root: pathlib.Path) -> list[Truth]:
    """The layout of MVTec AD."""
    _mvtec_layout(root, "Woven_001", "bad", "000")
    return [
        Truth("Woven_001/test/bad/000.png", "Woven 001", "bad", 2),
        Truth("Woven_001/test/good/000.png", "Woven 001", "good", None),
    ]


def real_iad(root: pathlib.Path) -> list[Truth]:
    """Photos listed in JSON beside the folder of photos; some in NG show no defect."""
    photos = root / "realiad_1024" / "bottle_cap"
    listed = {"meta": {"normal_class": "OK", "prefix": "bottle_cap/"}, "train": [], "test": []}

    def add(split, path, kind, truth=None):
        photo(photos / path)
        entry = {"image_path": path, "mask_path": truth, "anomaly_class": kind}
        listed[split].append({**entry, "category": "bottle_cap"})
        if truth is not None:
            mask(photos / truth)

    add("train", "OK/S0001/bottle_cap_0001_OK_C1_1.jpg", "OK")
    add("test", "OK/S0002/bottle_cap_0002_OK_C1_1.jpg", "OK")
    defect = "NG/HS/S0003/bottle_cap_0003_NG_HS_C"
    add("test", f"{defect}1_1.jpg", "HS", f"{defect}1_1_mask.png")
    add("test", f"{defect}2_1.jpg", "OK")
    for protocol in ("realiad_jsons", "realiad_jsons_sv"):
        folder = root / "realiad_jsons" / protocol
        folder.mkdir(parents=True)
        (folder / "bottle_cap.json").write_text(json.dumps(listed))
    return [
        Truth(f"bottle_cap/{defect}1_1.jpg", "bottle cap", "HS", 2),
        Truth(f"bottle_cap/{defect}2_1.jpg", "bottle cap", "good", None),
        Truth("bottle_cap/OK/S0002/bottle_cap_0002_OK_C1_1.jpg", "bottle cap", "good", None),
    ]


def mad(root: pathlib.Path) -> list[Truth]:
    """File names are numbers without leading zeros."""
    folder = root / "01Gorilla"
    photo(folder / "train" / "good" / "0.png")
    photo(folder / "test" / "good" / "0.png")
    photo(folder / "test" / "good" / "10.png")
    photo(folder / "test" / "Burrs" / "2.png")
    mask(folder / "ground_truth" / "Burrs" / "2_mask.png")
    (folder / "transforms.json").write_text("{}")
    return [
        Truth("01Gorilla/test/Burrs/2.png", "gorilla", "Burrs", 2),
        Truth("01Gorilla/test/good/0.png", "gorilla", "good", None),
        Truth("01Gorilla/test/good/10.png", "gorilla", "good", None),
    ]


# The name of a tree, the data set that reads it, and who makes it.
TREES: dict[str, tuple[str, Callable[[pathlib.Path], list[Truth]]]] = {
    "mvtec": ("mvtec", mvtec),
    "visa": ("visa", visa),
    "visa_reorganised": ("visa", visa_reorganised),
    "mtd": ("mtd", mtd),
    "ksdd2": ("ksdd2", ksdd2),
    "ksdd1": ("ksdd1", ksdd1),
    "mpdd": ("mpdd", mpdd),
    "btad": ("btad", btad),
    "dagm2007": ("dagm2007", dagm2007),
    "dtd_synthetic": ("dtd_synthetic", dtd_synthetic),
    "real_iad": ("real_iad", real_iad),
    "real_iad_sv": ("real_iad_sv", real_iad),
    "mad_sim": ("mad_sim", mad),
    "mad_real": ("mad_real", mad),
}
