"""What config files beside weights say of a CLIP where its names and shapes are silent.

    open_clip_config.json     model_cfg: heads and activation; preprocess_cfg: mean and std
    preprocessor_config.json  transformers': image_mean and image_std
    config.json               transformers': the activation, for weights of another layout

Each function raises `WeightConversionError` for a file with a value that makes no sense.
"""

from collections.abc import Mapping
from typing import Any

from zsas_jax.convert.described import Stated, model_type, preprocessor, stated_pixels
from zsas_jax.convert.files import Folder
from zsas_jax.errors import WeightConversionError
from zsas_jax.networks.clip.config import ClipConfig

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
                    f"{name}.{field} is {value!r}: expected {expected!r}, other networks are not "
                    "supported",
                )


def described_activation(folder: Folder) -> str | None:
    """The activation that a file states."""
    if folder.open_clip is not None:
        return "quick_gelu" if _open_clip_model(folder).get("quick_gelu") else "gelu"
    if model_type(folder) == "clip":
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
                folder, f"{tower}_cfg.width is {stated!r}: expected {width}, the weights' width"
            )
        if type(value) is not int or value < 1 or width % value:
            raise _open_clip_error(
                folder,
                f"{tower}_cfg.{name} is {value!r}: expected a whole number that divides the width "
                f"{width}",
            )
        heads[f"{tower}_heads"] = width // value if name == "head_width" else value
    return heads


def described_pixels(folder: Folder, *, transformers: bool) -> dict[str, tuple[float, ...]]:
    """Field of ClipConfig -> mean or std of the pixels.

    Of two files the one that belongs to the weights' layout, transformers' or another, counts.
    """
    section = _section(folder, folder.open_clip or {}, "preprocess_cfg")
    places = [Stated("open_clip_config.json", section)]
    if transformers:
        places.insert(0, preprocessor(folder))
    elif model_type(folder) == "clip":
        places.append(preprocessor(folder))
    return next((stated_pixels(folder, place) for place in places if place.section), {})


def _open_clip_model(folder: Folder) -> Mapping[str, Any]:
    content = folder.open_clip or {}
    return _section(folder, content, "model_cfg") or content


def _section(folder: Folder, content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object inside another one of open_clip_config.json, empty where absent."""
    section = content.get(name) or {}
    if not isinstance(section, Mapping):
        raise _open_clip_error(folder, f"{name} is {section!r}: expected an object")
    return section


def _open_clip_error(folder: Folder, problem: str) -> WeightConversionError:
    return WeightConversionError(f"{folder.path / 'open_clip_config.json'}: {problem}")
