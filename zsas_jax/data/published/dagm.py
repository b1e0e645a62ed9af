"""DAGM 2007 in its Kaggle upload.

`Class<1..10>/{Train,Test}/<id>.PNG`, and for photos with a defect
`Class<n>/{Train,Test}/Label/<id>_label.PNG`, a coarse ellipse. A photo without a label is good.
"""

import pathlib
from collections.abc import Iterator

from zsas_jax.data.description import Count, Dataset, Item, photos_in, subfolders

_CLASSES = tuple(f"Class{number}" for number in range(1, 11))
# Photos in each half; one in about seven has a defect.
_HALVES = dict(zip(_CLASSES, [575] * 6 + [1150] * 4, strict=True))


def _folders(root: pathlib.Path) -> list[str]:
    return [
        path.name
        for path in subfolders(root)
        if (path / "Train").is_dir() or (path / "Test").is_dir()
    ]


def _read(root: pathlib.Path) -> Iterator[Item]:
    for folder in _folders(root):
        for half in ("Train", "Test"):
            labels = {
                pathlib.Path(name).stem.lower(): name
                for name in photos_in(root / folder / half / "Label")
            }
            for name in photos_in(root / folder / half):
                label = labels.get(f"{pathlib.Path(name).stem.lower()}_label")
                yield Item(
                    f"{folder}/{half}/{name}",
                    folder,
                    half.lower(),
                    "good" if label is None else "defect",
                    None if label is None else f"{folder}/{half}/Label/{label}",
                )


DAGM2007 = Dataset(
    name="dagm2007",
    title="DAGM 2007",
    layout="Class<n>/{Train,Test}/<id>.PNG and Class<n>/{Train,Test}/Label/<id>_label.PNG",
    folders=_folders,
    read=_read,
    masks=("*/Train/Label/*.*", "*/Test/Label/*.*"),
    mask_threshold=0,
    categories=_CLASSES,
    counts=tuple(
        count
        for name, half in _HALVES.items()
        for count in (
            Count(half, "train", name),
            Count(half, "test", name),
            Count(half * 300 // 1150, None, name, anomalous=True),
        )
    ),
    archives=("DAGM_KaggleUpload.zip", "DAGM2007.zip"),
    citation="Wieler and Hahn, DAGM 2007 competition: weakly supervised learning",
)
