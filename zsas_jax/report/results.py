"""The directory of one run's results: claimed before anything is computed."""

import json
import os
import pathlib
import platform
import shutil
from importlib import metadata
from typing import Any

from zsas_jax.errors import ConfigError
from zsas_jax.report.files import save_json

RUN_FILE = "run.json"
_FILES = ("metrics.json", "scores.csv", "failed.csv", RUN_FILE)
_FOLDERS = ("overlays", "maps", "masks")


def claim_directory(
    directory: str | os.PathLike[str], config: dict[str, Any], *, overwrite: bool = False
) -> pathlib.Path:
    """Makes the directory ready for results of `config`; older results of it are removed.

    Files that no run writes are left alone.

    Raises:
        ConfigError: results of another configuration, or files of unknown origin, without
            `overwrite`; a directory that cannot be written.
    """
    directory = pathlib.Path(directory)
    config = json.loads(json.dumps(config))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not overwrite:
            _refuse_others(directory, config)
        for name in _FILES:
            (directory / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            if (directory / name).is_dir():
                shutil.rmtree(directory / name)
        save_json(directory / RUN_FILE, config)
    except OSError as error:
        raise ConfigError(
            f"output directory {directory} cannot be written ({error.strerror}): "
            "expected a directory of your own"
        ) from error
    return directory


def _refuse_others(directory: pathlib.Path, config: dict[str, Any]) -> None:
    present = [name for name in (*_FILES, *_FOLDERS) if (directory / name).exists()]
    if not present:
        return
    try:
        stored = json.loads((directory / RUN_FILE).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        raise ConfigError(
            f"{directory} holds {present[0]} of unknown origin: expected results of the same "
            "configuration, another --output-dir, or --overwrite"
        ) from None
    if stored != config:
        difference = _first_difference(stored, config)
        raise ConfigError(
            f"{directory} holds results of another configuration ({difference}): "
            "expected the same one, another --output-dir, or --overwrite"
        )


def _first_difference(stored: Any, config: Any, path: str = "") -> str:
    if isinstance(stored, dict) and isinstance(config, dict):
        for name in [*config, *stored]:
            if stored.get(name) != config.get(name):
                return _first_difference(
                    stored.get(name), config.get(name), f"{path}.{name}" if path else name
                )
    return f"{path} was {json.dumps(stored)}, is {json.dumps(config)}"


def versions() -> dict[str, str]:
    """What computed the results: packages, Python and the device."""
    import jax

    device = jax.devices()[0]
    packages = ("zsas_jax", "jax", "jaxlib", "flax", "numpy", "pillow")
    return {name: _version(name) for name in packages} | {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{device.device_kind} ({device.platform})",
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
