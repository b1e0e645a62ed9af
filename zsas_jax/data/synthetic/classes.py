"""Which classes exist, who draws them, which defects they can have, how often they are grey."""

from collections.abc import Callable
from typing import NamedTuple

from zsas_jax.data.synthetic import (
    defects,
    defects_soft,
    held_out,
    held_out_defects,
    objects,
    surfaces,
)
from zsas_jax.data.synthetic.scene import Scene, Studio


class ClassSpec(NamedTuple):
    """How a class is drawn. `defects` are those of its split that make sense on it."""

    draw: Callable[[Studio], Scene]
    defects: tuple[str, ...]
    grey: float = 0.2  # probability of a greyscale photo
    border: float = 0.25  # probability of dark or bright marks along the photo's border


HARD = ("scratch", "crack", "hole", "stain", "chip", "dent", "discoloration", "wear", "glue")
SOFT = ("hole", "stain", "discoloration", "fray", "wear", "fold", "glue", "rough_patch")
SMALL = ("scratch", "crack", "hole", "stain", "chip", "dent", "discoloration", "rough_patch")
PARTED = (*SMALL, "missing_part")

TRAIN = {
    "brushed_metal": ClassSpec(surfaces.brushed_metal, (*HARD, "rough_patch", "fray"), 0.6, 0.4),
    "cast_metal": ClassSpec(surfaces.cast_metal, (*HARD, "rough_patch"), 0.6, 0.4),
    "wood": ClassSpec(surfaces.wood, (*HARD, "rough_patch"), 0.1),
    "leather": ClassSpec(surfaces.leather, (*SOFT, "scratch", "dent"), 0.15),
    "stone": ClassSpec(surfaces.stone, (*HARD, "rough_patch"), 0.3),
    "fabric": ClassSpec(surfaces.fabric, SOFT, 0.2),
    "carpet": ClassSpec(surfaces.carpet, SOFT, 0.2),
    "grid": ClassSpec(surfaces.grid, ("stain", "discoloration", "glue", "rough_patch"), 0.4),
    "metal_nut": ClassSpec(objects.metal_nut, PARTED, 0.3, 0.05),
    "washer": ClassSpec(objects.washer, SMALL, 0.3, 0.05),
    "pill": ClassSpec(objects.pill, SMALL, 0.1, 0.05),
    "capsule": ClassSpec(objects.capsule, PARTED, 0.1, 0.05),
}

FLAT = ("blowholes", "cut", "contamination", "uneven_band", "corrosion", "distortion")
EVAL = {
    "terrazzo": ClassSpec(held_out.terrazzo, FLAT[:-1]),
    "perforated_sheet": ClassSpec(held_out.perforated_sheet, (*FLAT[1:],), 0.4),
    "knitted_wool": ClassSpec(held_out.knitted_wool, FLAT[1:]),
}

CLASSES = {"train": TRAIN, "eval": EVAL}

DEFECTS = {
    "train": {
        "scratch": defects.scratch,
        "crack": defects.crack,
        "hole": defects.hole,
        "stain": defects.stain,
        "discoloration": defects.discoloration,
        "dent": defects.dent,
        "chip": defects.chip,
        "wear": defects.wear,
        "missing_part": defects.missing_part,
        "fray": defects_soft.fray,
        "fold": defects_soft.fold,
        "glue": defects_soft.glue,
        "rough_patch": defects_soft.rough_patch,
    },
    "eval": {
        "blowholes": held_out_defects.blowholes,
        "cut": held_out_defects.cut,
        "uneven_band": held_out_defects.uneven_band,
        "corrosion": held_out_defects.corrosion,
        "contamination": held_out_defects.contamination,
        "distortion": held_out_defects.distortion,
        "displaced_part": held_out_defects.displaced_part,
    },
}
