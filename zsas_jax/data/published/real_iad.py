"""Real-IAD: photos per object, with the splits in JSON files beside them.

`realiad_{256,512,1024,raw}/<object>/{OK/S####/*.jpg, NG/<defect>/S####/<name>.{jpg,_mask.png}}`
and, beside that folder, `realiad_jsons/[realiad_jsons/]<object>.json` (several views), or
`realiad_jsons_sv` (one view) with the keys meta, train and test.
"""

import functools
import json
import pathlib
from collections.abc import Iterator

from zsas_jax.data.description import GOOD, SPLITS, Count, Dataset, Item, subfolders
from zsas_jax.errors import DatasetError

_JSONS = "realiad_jsons"
# fmt: off
_OBJECTS = (
    "audiojack", "bottle_cap", "button_battery", "end_cap", "eraser", "fire_hood", "mint",
    "mounts", "pcb", "phone_battery", "plastic_nut", "plastic_plug", "porcelain_doll",
    "regulator", "rolled_strip_base", "sim_card_set", "switch", "tape", "terminalblock",
    "toothbrush", "toy", "toy_brick", "transistor1", "u_block", "usb", "usb_adaptor", "vcpill",
    "wooden_beads", "woodstick", "zipper",
)
# fmt: on


def _folders(root: pathlib.Path) -> list[str]:
    if not root.name.startswith("realiad_") or root.name.startswith(_JSONS):
        return []
    return [path.name for path in subfolders(root)]


def _read(root: pathlib.Path, protocol: str) -> Iterator[Item]:
    lists = _lists(root, protocol)
    for path in lists:
        yield from _read_list(path)
    without = set(_folders(root)) - {path.stem for path in lists}
    if without:
        raise DatasetError(
            f"{lists[0].parent / f'{min(without)}.json'} does not exist: expected the list of the "
            f"photos in {root / min(without)}"
        )


def _lists(root: pathlib.Path, protocol: str) -> list[pathlib.Path]:
    """The JSON files; archives put the folders of all protocols into one more folder."""
    for folder in (root.parent / _JSONS / protocol, root.parent / protocol):
        if lists := sorted(folder.glob("[!.]*.json")):
            return lists
    raise DatasetError(
        f"{root.parent / protocol} holds no lists of photos: expected <object>.json of Real-IAD's "
        f"{_JSONS}.zip"
    )


def _read_list(path: pathlib.Path) -> Iterator[Item]:
    expected = "expected Real-IAD's meta, train and test"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is no complete JSON file ({error}): {expected}") from error
    try:
        meta = content.get("meta", {})
        prefix, normal = meta.get("prefix", f"{path.stem}/"), meta.get("normal_class", "OK")
        for split in SPLITS:
            for entry in content[split]:
                good = entry["anomaly_class"] == normal or entry["mask_path"] is None
                yield Item(
                    _join(prefix, entry["image_path"]),
                    path.stem,
                    split,
                    GOOD if good else entry["anomaly_class"],
                    None if good else _join(prefix, entry["mask_path"]),
                )
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} has another structure ({error!r}): {expected}") from error


def _join(prefix: str, path: str) -> str:
    return pathlib.PurePosixPath(prefix, path).as_posix()


REAL_IAD = Dataset(
    name="real_iad",
    title="Real-IAD",
    layout="realiad_<resolution>/<object>/{OK,NG}/ and realiad_jsons/<object>.json beside it",
    folders=_folders,
    read=functools.partial(_read, protocol=_JSONS),
    mask_threshold=0,
    categories=_OBJECTS,
    counts=(
        Count(36465, "train"),
        Count(63256, "test", anomalous=False),
        Count(51329, "test", anomalous=True),
    ),
    archives=("realiad_jsons*.zip", "realiad_*/*.zip"),
    in_parts=True,
    citation="Wang et al., Real-IAD, CVPR 2024",
)

REAL_IAD_SV = Dataset(
    name="real_iad_sv",
    title="Real-IAD (single view)",
    layout="realiad_<resolution>/<object>/{OK,NG}/ and realiad_jsons_sv/<object>.json beside it",
    folders=_folders,
    read=functools.partial(_read, protocol=f"{_JSONS}_sv"),
    mask_threshold=0,
    categories=_OBJECTS,
    archives=REAL_IAD.archives,
    in_parts=True,
    citation=REAL_IAD.citation,
)
