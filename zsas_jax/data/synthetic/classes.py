"""Which classes exist, who draws them, which defects they can have, how often they are grey."""

from collections.abc import Callable
from typing import NamedTuple

from zsas_jax.data.synthetic import (
    defects,
    defects_soft,
    defects_wide,
    held_out,
    held_out_defects,
    held_out_objects,
    made_up,
    objects,
    objects_assembled,
    surfaces,
    surfaces_built,
)
from zsas_jax.data.synthetic.scene import Scene, Studio


class ClassSpec(NamedTuple):
    """How a class is drawn. `defects` are those of its split that make sense on it."""

    draw: Callable[[Studio], Scene]
    defects: tuple[str, ...]
    grey: float = 0.2  # probability of a greyscale photo
    border: float = 0.25  # probability of dark or bright marks along the photo's border
    marked: float = 0.0  # probability of seams, text, rivets, labels: normal structure
    weight: int = 1  # how often the class is drawn for training, relative to the others


COMMON = ("scratch", "crack", "hole", "stain", "chip", "dent", "discoloration", "flaw")
HARD = (*COMMON, "wear", "glue", "uncoated", "burn")
SOFT = (
    *("hole", "stain", "discoloration", "fray", "wear", "fold", "glue", "rough_patch", "flaw"),
    *("uncoated", "burn"),
)
WAVY = (*SOFT, "ripple")  # with a pattern that shows where it is bent
SMALL = (*COMMON, "rough_patch", "uncoated", "burn")
PARTED = (*SMALL, "missing_part", "wrong_part")

TRAIN = {
    "brushed_metal": ClassSpec(
        surfaces.brushed_metal, (*HARD, "rough_patch", "fray"), 0.6, 0.4, marked=0.3
    ),
    "cast_metal": ClassSpec(surfaces.cast_metal, (*HARD, "rough_patch"), 0.6, 0.4, marked=0.3),
    "wood": ClassSpec(surfaces.wood, (*HARD, "rough_patch"), 0.1, marked=0.3),
    "leather": ClassSpec(surfaces.leather, (*WAVY, "scratch", "dent"), 0.15, marked=0.3),
    "stone": ClassSpec(surfaces.stone, (*HARD, "rough_patch"), 0.3, marked=0.3),
    "fabric": ClassSpec(surfaces.fabric, WAVY, 0.2, marked=0.3),
    "carpet": ClassSpec(surfaces.carpet, WAVY, 0.2, marked=0.3),
    "grid": ClassSpec(
        surfaces.grid,
        ("stain", "discoloration", "glue", "rough_patch", "flaw", "uncoated", "ripple"),
        0.4,
    ),
    "tile": ClassSpec(surfaces_built.tile, (*HARD, "rough_patch"), 0.2, marked=0.3),
    "paper": ClassSpec(surfaces_built.paper, (*SOFT, "scratch", "chip"), 0.2),
    "plastic": ClassSpec(surfaces_built.plastic, (*HARD, "rough_patch"), 0.2, marked=0.3),
    "concrete": ClassSpec(surfaces_built.concrete, (*HARD, "rough_patch"), 0.4, marked=0.3),
    "ceramic": ClassSpec(surfaces_built.ceramic, (*HARD, "rough_patch"), 0.2, marked=0.3),
    "printed_pattern": ClassSpec(surfaces_built.printed_pattern, (*SOFT, "scratch"), 0.15),
    "tread_plate": ClassSpec(surfaces_built.tread_plate, (*HARD, "rough_patch"), 0.4),
    "painted_sheet": ClassSpec(
        surfaces_built.painted_sheet, (*HARD, "rough_patch"), 0.2, marked=0.3
    ),
    "composite": ClassSpec(
        surfaces_built.composite, (*HARD, "fray", "fold", "rough_patch", "ripple"), 0.3, marked=0.3
    ),
    "metal_nut": ClassSpec(objects.metal_nut, PARTED, 0.3, 0.05),
    "washer": ClassSpec(objects.washer, SMALL, 0.3, 0.05),
    "pill": ClassSpec(objects.pill, SMALL, 0.1, 0.05),
    "capsule": ClassSpec(objects.capsule, PARTED, 0.1, 0.05),
    "bottle_cap": ClassSpec(objects_assembled.bottle_cap, PARTED, 0.1, 0.05),
    "circuit_board": ClassSpec(objects_assembled.circuit_board, (*PARTED, "glue"), 0.1, 0.05),
    "cable": ClassSpec(objects_assembled.cable, PARTED, 0.1, 0.05),
    "brush": ClassSpec(objects_assembled.brush, (*PARTED, "fray"), 0.1, 0.05),
    "zip_fastener": ClassSpec(objects_assembled.zip_fastener, (*PARTED, "fray"), 0.2, 0.1),
    "bottle": ClassSpec(objects_assembled.bottle, SMALL, 0.1, 0.05),
    "gear": ClassSpec(objects_assembled.gear, PARTED, 0.3, 0.05),
    "button": ClassSpec(objects_assembled.button, PARTED, 0.1, 0.05),
    "bracket": ClassSpec(objects_assembled.bracket, PARTED, 0.3, 0.05),
    "material": ClassSpec(
        made_up.material,
        (*HARD, "fray", "fold", "rough_patch", "ripple"),
        0.2,
        marked=0.2,
        weight=12,
    ),
    "part": ClassSpec(made_up.part, (*PARTED, "wear", "glue"), 0.2, 0.1, weight=22),
}

FLAT = ("blowholes", "cut", "contamination", "uneven_band", "corrosion")
WOVEN = ("cut", "contamination", "uneven_band", "corrosion", "distortion")
SOLID = ("blowholes", "cut", "contamination", "corrosion")
JOINED = (*SOLID, "displaced_part")

EVAL = {
    "terrazzo": ClassSpec(held_out.terrazzo, FLAT),
    "perforated_sheet": ClassSpec(held_out.perforated_sheet, WOVEN, 0.4),
    "knitted_wool": ClassSpec(held_out.knitted_wool, WOVEN),
    "cardboard": ClassSpec(held_out.cardboard, FLAT),
    "asphalt": ClassSpec(held_out.asphalt, FLAT, 0.3),
    "marble": ClassSpec(held_out.marble, FLAT),
    "rattan": ClassSpec(held_out.rattan, WOVEN),
    "solar_cell": ClassSpec(held_out.solar_cell, FLAT, 0.3),
    "hazelnut": ClassSpec(held_out_objects.hazelnut, JOINED, 0.1, 0.05),
    "screw": ClassSpec(held_out_objects.screw, JOINED, 0.3, 0.05),
    "transistor": ClassSpec(held_out_objects.transistor, JOINED, 0.1, 0.05),
    "biscuit": ClassSpec(held_out_objects.biscuit, SOLID, 0.1, 0.05),
    "gasket": ClassSpec(held_out_objects.gasket, JOINED, 0.2, 0.05),
    "rope_coil": ClassSpec(held_out_objects.rope_coil, (*SOLID, "distortion"), 0.2, 0.05),
    "candle": ClassSpec(held_out_objects.candle, JOINED, 0.1, 0.05),
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
        "flaw": made_up.flaw,
        "uncoated": defects_wide.uncoated,
        "burn": defects_wide.burn,
        "ripple": defects_wide.ripple,
        "wrong_part": defects.wrong_part,
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
