"""The directory of one run's results: claimed before anything is computed, written, read again."""

import json
import pathlib
import platform
import shutil
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import jax

from zsas_jax.data.folder import RESULTS
from zsas_jax.errors import ConfigError
from zsas_jax.evaluation.resume import JOURNAL
from zsas_jax.files import not_writable, read_csv, save_csv, save_json

RUN_FILE, SMALL_MAPS = RESULTS
DETAILS_FILE = "report.json"
SCORES_HEADER = ("path", "category", "label", "image_score", "verdict", "anomalous_area")
FAILED_HEADER = ("path", "reason")
_FILES = (
    "metrics.json",
    "scores.csv",
    "failed.csv",
    JOURNAL,
    DETAILS_FILE,
    "report.html",
    "report.md",
    "report.csv",
)
_FOLDERS = ("overlays", "maps", "masks", "strips")


def check_directory(
    directory: pathlib.Path, config: dict[str, Any], *, overwrite: bool = False
) -> None:
    """Refuses a directory that is not for results of `config`.

    Raises:
        ConfigError: results of another configuration, or files of unknown origin, without
            `overwrite`; a directory that cannot be written.
    """
    try:
        if not overwrite:
            _refuse_others(directory, _plain(config))
    except OSError as error:
        raise not_writable(directory, error) from error


def claim_directory(directory: pathlib.Path, config: dict[str, Any], *, keep: bool = False) -> None:
    """Makes the directory ready for results of `config`.

    Older results are removed, unless they are to `keep`: those of an interrupted run, whose
    half-written files alone go. Files that no run writes are left alone.

    Raises:
        ConfigError: a directory that cannot be written.
    """
    try:
        if not keep:
            # In this order an interruption leaves no half of a run to be taken over, and nothing of
            # unknown origin: `RUN_FILE` stays until it is replaced.
            for name in _FILES:
                (directory / name).unlink(missing_ok=True)
            for name in _FOLDERS:
                if (directory / name).is_dir():
                    shutil.rmtree(directory / name)
            (directory / SMALL_MAPS).unlink(missing_ok=True)
        for folder in (directory, *(directory / name for name in _FOLDERS)):
            pattern = ".*.part" if folder == directory else "**/.*.part"
            for part in folder.glob(pattern):
                part.unlink(missing_ok=True)
        save_json(directory / RUN_FILE, _plain(config))
    except OSError as error:
        raise not_writable(directory, error) from error


def finished_key(directory: pathlib.Path) -> str | None:
    """The key of the run whose finished results lie here, if any do."""
    try:
        details = json.loads((directory / DETAILS_FILE).read_text("utf-8"))
        return details["key"] if (directory / "metrics.json").is_file() else None
    except (OSError, ValueError, KeyError):
        return None


def save_results(
    directory: pathlib.Path,
    metrics: dict[str, Any],
    scores: Sequence[tuple],
    failures: Sequence[tuple[str, str]],
    details: dict[str, Any],
) -> None:
    """Writes scores.csv, failed.csv (where any failed), metrics.json and, last, report.json."""
    save_csv(directory / "scores.csv", SCORES_HEADER, scores)
    if failures:
        save_csv(directory / "failed.csv", FAILED_HEADER, failures)
    save_json(directory / "metrics.json", metrics)
    save_json(directory / DETAILS_FILE, details)


def load_results(
    directory: pathlib.Path,
) -> tuple[dict[str, Any], list[tuple], list[tuple[str, str]]]:
    """metrics.json and the rows of scores.csv and failed.csv.

    Raises:
        ConfigError: a directory without results, or with damaged ones.
    """
    try:
        metrics = json.loads((directory / "metrics.json").read_text("utf-8"))
        rows = read_csv(directory / "scores.csv")
        scores = [
            (path, category, label, float(score), verdict, float(area))
            for path, category, label, score, verdict, area in rows
        ]
        failed = directory / "failed.csv"
        failures = [(name, why) for name, why in read_csv(failed)] if failed.is_file() else []
    except FileNotFoundError as error:
        raise ConfigError(
            f"{directory} holds no results ({pathlib.Path(error.filename).name} is missing): "
            "expected a directory that evaluate.py wrote, like results/mtd/cascade"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"the results in {directory} are damaged: {error}") from error
    return metrics, scores, failures


def load_details(directory: pathlib.Path) -> dict[str, Any]:
    """report.json: curves, score histograms, photos and pictures.

    Raises:
        ConfigError: it is missing or damaged.
    """
    path = directory / DETAILS_FILE
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} is missing: expected a directory that evaluate.py wrote and finished"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{path} is damaged: expected JSON ({error})") from error


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(config))


def _refuse_others(directory: pathlib.Path, config: dict[str, Any]) -> None:
    names = (*_FILES, *_FOLDERS, SMALL_MAPS, RUN_FILE)
    present = [name for name in names if (directory / name).exists()]
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
        difference = first_difference(stored, config)
        raise ConfigError(
            f"{directory} holds results of another configuration ({difference}): "
            "expected the same one, another --output-dir, or --overwrite"
        )


def first_difference(stored: Any, config: Any, path: str = "") -> str:
    """The first field that differs, with both values."""
    if isinstance(stored, dict) and isinstance(config, dict):
        for name in [*config, *stored]:
            if stored.get(name) != config.get(name):
                return first_difference(
                    stored.get(name), config.get(name), f"{path}.{name}" if path else name
                )
    return f"{path} was {json.dumps(stored)}, is {json.dumps(config)}"


def versions() -> dict[str, str]:
    """What computed the results: packages, Python and the device."""
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
