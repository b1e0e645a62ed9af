"""What config files beside weights say of a network where its names and shapes are silent.

    open_clip_config.json     model_cfg: heads and activation; preprocess_cfg: mean and std
    preprocessor_config.json  transformers': image_mean and image_std
    config.json               transformers': the activation, for weights of another layout

Each function raises `WeightConversionError` for a file with a value that makes no sense.
"""

import math
from collections.abc import Mapping
from typing import Any

from zsas_jax.clip.config import ClipConfig
from zsas_jax.errors import WeightConversionError
from zsas_jax.weights.sources import Folder

# What open_clip's networks compute where nothing is said; weights of another network can have the
# same names and shapes (CLIPA's text towers see every token).
_COMPUTED = {
    "vision_cfg": {
        "pool_type": "tok",
        "attentional_pool": False,
        "global_average_pool": False,
        "no_ln_pre": False,
        "final_ln_after_pool": False,
        "input_patchnorm": False,
        "act_kwargs": {},
        "norm_kwargs": {},
    },
    "text_cfg": {
        "pool_type": "argmax",
        "no_causal_mask": False,
        "act_kwargs": {},
        "norm_kwargs": {},
    },
}


def check_described(folder: Folder) -> None:
    """Refuses an open_clip_config.json of a network that computes something else than our CLIP."""
    for name, known in _COMPUTED.items():
        section = _section(folder, _open_clip_model(folder), name)
        for field, expected in known.items():
            value = section.get(field)
            if value is not None and value != expected:
                raise _open_clip_error(
                    folder,
                    f"{name}.{field} is {value!r}, expected {expected!r}: such a network is not "
                    "supported",
                )


def described_activation(folder: Folder) -> str | None:
    """The activation of a CLIP."""
    if folder.open_clip is not None:
        return "quick_gelu" if _open_clip_model(folder).get("quick_gelu") else "gelu"
    if _model_type(folder) == "clip":
        vision = (folder.transformers or {}).get("vision_config") or {}
        return vision.get("hidden_act", "quick_gelu")
    return None


def described_heads(folder: Folder, sizes: ClipConfig) -> dict[str, int]:
    """Field of ClipConfig -> heads of the towers that open_clip_config.json describes."""
    heads = {}
    # With open_clip's default values.
    for tower, name, default in (("vision", "head_width", 64), ("text", "heads", 8)):
        section = _section(folder, _open_clip_model(folder), f"{tower}_cfg")
        if not section:
            continue
        width = getattr(sizes, f"{tower}_width")
        stated, value = section.get("width", width), section.get(name, default)
        if stated != width:
            raise _open_clip_error(
                folder, f"{tower}_cfg.width is {stated!r}, expected {width}, the weights' width"
            )
        if type(value) is not int or value < 1 or width % value:
            raise _open_clip_error(
                folder,
                f"{tower}_cfg.{name} is {value!r}, expected a whole number that divides the width "
                f"{width}",
            )
        heads[f"{tower}_heads"] = width // value if name == "head_width" else value
    return heads


def described_pixels(folder: Folder, network: str, layout: str) -> dict[str, tuple[float, ...]]:
    """Field of the network's config -> mean or std of the pixels, in the field's unit.

    Of two files the one that belongs to the layout counts.
    """
    places: list[tuple[str, Mapping[str, Any], str]] = []
    if network == "clip":
        section = _section(folder, folder.open_clip or {}, "preprocess_cfg")
        places.append(("open_clip_config.json", section, ""))
    transformers = ("preprocessor_config.json", folder.preprocessor or {}, "image_")
    if layout == "transformers":
        places.insert(0, transformers)
    elif _model_type(folder) == network:
        places.append(transformers)
    file, stated, prefix = next((place for place in places if place[1]), ("", {}, ""))
    fields = {}
    for name in ("mean", "std"):
        values = stated.get(prefix + name)
        if values is None:
            continue
        if not _three_numbers(values) or (name == "std" and min(values) <= 0):
            raise WeightConversionError(
                f"{folder.path / file}: {prefix}{name} is {values!r}, expected three "
                f"{'numbers' if name == 'mean' else 'positive numbers'}"
            )
        if network == "sam":  # SamConfig's are of pixels in 0..255
            values = [round(255 * value, 6) for value in values]
        fields[f"pixel_{name}"] = tuple(map(float, values))
    return fields


def _three_numbers(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) == 3
        and all(type(value) in (int, float) and math.isfinite(value) for value in values)
    )


def _model_type(folder: Folder) -> str | None:
    return (folder.transformers or {}).get("model_type")


def _open_clip_model(folder: Folder) -> Mapping[str, Any]:
    content = folder.open_clip or {}
    return _section(folder, content, "model_cfg") or content


def _section(folder: Folder, content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object inside another one of open_clip_config.json, empty where absent."""
    section = content.get(name) or {}
    if not isinstance(section, Mapping):
        raise _open_clip_error(folder, f"{name} is {section!r}, expected an object")
    return section


def _open_clip_error(folder: Folder, problem: str) -> WeightConversionError:
    return WeightConversionError(f"{folder.path / 'open_clip_config.json'}: {problem}")
