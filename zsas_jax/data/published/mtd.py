"""Magnetic Tile Defect (Huang et al., The Visual Computer 2020).

`MT_{Blowhole,Break,Crack,Fray,Free,Uneven}/Imgs/<name>.jpg` and the mask `<name>.png`. There is no
official split: all photos are test photos. They are labelled by folder (four of MT_Uneven have
empty masks); masks have grey edges and are cut above 127.
"""

import pathlib
from collections.abc import Iterator

from zsas_jax.data.description import Count, Dataset, Item, photos_in, subfolders

CATEGORY = "magnetic_tile"
_FREE = "MT_Free"
_KINDS = {"Blowhole": 115, "Break": 85, "Crack": 57, "Fray": 32, "Uneven": 103}


def _kinds(root: pathlib.Path) -> list[pathlib.Path]:
    return [
        path
        for path in subfolders(root)
        if path.name.startswith("MT_") and (path / "Imgs").is_dir()
    ]


def _folders(root: pathlib.Path) -> list[str]:
    return [CATEGORY] if _kinds(root) else []


def _read(root: pathlib.Path) -> Iterator[Item]:
    for kind in _kinds(root):
        for name in photos_in(kind / "Imgs", [".jpg"]):
            image = f"{kind.name}/Imgs/{name}"
            if kind.name == _FREE:  # Its masks are all zero.
                yield Item(image, CATEGORY)
            else:
                mask = f"{kind.name}/Imgs/{pathlib.Path(name).stem}.png"
                yield Item(image, CATEGORY, defect=kind.name, mask=mask)


MTD = Dataset(
    name="mtd",
    title="MTD",
    layout="MT_*/Imgs/<name>.jpg with the mask <name>.png beside it",
    folders=_folders,
    read=_read,
    masks=tuple(f"MT_{kind}/Imgs/*.png" for kind in _KINDS),
    categories=(CATEGORY,),
    counts=(
        Count(952, "test", anomalous=False),
        Count(sum(_KINDS.values()), "test", anomalous=True),
    ),
    archives=("Magnetic-tile-defect*.zip", "Magnetic-Tile-Defect*.zip"),
    citation="Huang et al., Surface defect saliency of magnetic tile, The Visual Computer 2020",
)
