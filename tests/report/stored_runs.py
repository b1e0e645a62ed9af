"""Finished runs on disk, as evaluate.py leaves them, without computing anything."""

import numpy as np
from PIL import Image

from zsas_jax.evaluation.results import save_results
from zsas_jax.metrics import METRICS

NAMES = ("crack/ä 1.jpg", "crack/<b>2.jpg", "good/3.jpg")


def store_run(directory, method="umci", dataset="mtd", shift=0.0, labelled=True):
    """Writes the files of a finished run; `shift` changes its scores and maps."""
    directory.mkdir(parents=True)
    values = {name: min(0.5 + shift, 1.0) if labelled else None for name in METRICS}
    config = {
        "dataset": dataset,
        "method": method,
        "checkpoint": "tiny",
        "resolution": 518,
        "settings": {"head": {"threshold": 0.5}},
        "verdict": {"mask_threshold": 0.5, "image_threshold": 0.5},
    }
    metrics = {
        "categories": {"magnetic tile": values},
        "mean": values,
        "reasons": {},
        "defect_types": {"magnetic tile": {"MT_Crack": values}},
        "warnings": ["checkpoint x was trained on <mtd>"],
        "config": config,
        "versions": {"jax": "1", "device": "cpu"},
        "timing": {
            "images": 3,
            "images_per_second": 2.0,
            "compile_seconds": 1.0,
            "total_seconds": 3.0,
            "steps_seconds": {"device": 1.5, "decode": 0.1},
        },
    }
    photos, strips = [], []
    for index, name in enumerate(NAMES):
        label = int(index < 2) if labelled else -1
        photos.append(
            {
                "index": index,
                "name": name,
                "category": "magnetic tile",
                "defect": "MT_Crack" if label else "good",
                "label": label,
                "score": 0.45 + shift + index / 100,
                "verdict": "anomalous" if 0.45 + shift + index / 100 >= 0.5 else "good",
                "area": 0.1,
                "highest": 0.9,
                "ap": 0.25 + shift if label else None,
            }
        )
        panels = []
        for number, caption in enumerate(["photo", "truth", "first map", "prompts", "result"]):
            file = directory / "strips" / f"{index}" / f"{number}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (120, 80 + 200 * (index == 1)), (40 * number, 90, 120)).save(file)
            panels.append(
                {
                    "caption": caption,
                    "kind": "prompts" if caption == "prompts" else "photo",
                    "file": file.relative_to(directory).as_posix(),
                    "size": [120, 80 + 200 * (index == 1)],
                }
            )
        strips.append({"kind": "best", **photos[-1], "panels": panels})
    curve = [[0.0, 0.2, 1.0], [0.0, 0.7, 1.0]]
    curves = {}
    if labelled:
        names = ("pixel_roc", "pixel_precision_recall", "pixel_pro", "image_roc")
        curves = dict.fromkeys(names, curve) | {"pixel_pro": [[0.0, 0.1, 0.3], [0.0, 0.4, 0.7]]}
    details = {
        "key": "k",
        "categories": {
            "magnetic tile": {
                "curves": curves,
                "scores": {"edges": [0.4, 0.45, 0.5], "good": [1, 0], "anomalous": [1, 1]},
            }
        },
        "photos": photos,
        "strips": strips,
    }
    rows = [(p["name"], p["category"], "", p["score"], p["verdict"], p["area"]) for p in photos]
    save_results(directory, metrics, rows, [], details)
    maps = np.full((3, 48, 48), 0.25, np.float16)
    maps[1, :24] += np.float16(shift)
    np.save(directory / "small_maps.npy", maps)
    return directory
