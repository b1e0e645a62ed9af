"""The manifest of a checkpoint directory: size and sha256 of its files."""

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from zsas_jax.errors import CheckpointError
from zsas_jax.files import sha256

FILE = "manifest.json"
# What calibration adds later; see `zsas_jax.evaluation.verdicts`.
THRESHOLDS = "thresholds.json"
# Above this size only sizes are checked at load time: hashing gigabytes costs more than reading.
HASH_LIMIT = 64 * 2**20


def listed_files(directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """What a manifest lists: every file but documents, calibrated thresholds and itself."""
    for file in sorted(directory.rglob("*")):
        if file.is_file() and file.name not in (FILE, THRESHOLDS) and file.suffix != ".md":
            yield file


def write_manifest(directory: pathlib.Path) -> None:
    """Records size and sha256 of the files that are there."""
    files = {
        file.relative_to(directory).as_posix(): {
            "bytes": file.stat().st_size,
            "sha256": sha256(file),
        }
        for file in listed_files(directory)
    }
    write_json(directory / FILE, files)


def read_manifest(directory: pathlib.Path) -> dict[str, Any]:
    """Name -> size and sha256 of every file of a checkpoint directory."""
    manifest = read_json(directory / FILE)
    if not isinstance(manifest, dict) or not all(
        isinstance(entry, dict) and {"bytes", "sha256"} <= entry.keys()
        for entry in manifest.values()
    ):
        raise CheckpointError(
            f"{directory / FILE} is damaged: expected a table of files with their bytes and sha256"
        )
    return manifest


def check_files(directory: pathlib.Path) -> dict[str, Any]:
    """The manifest, after a check of all sizes, and of the hashes where that is quick."""
    files = read_manifest(directory)
    hash_all = sum(entry["bytes"] for entry in files.values()) <= HASH_LIMIT
    for name, entry in files.items():
        check_file(directory / name, entry, hashed=hash_all)
    return files


def check_file(file: pathlib.Path, entry: Mapping[str, Any], *, hashed: bool) -> None:
    """Compares a file with its entry in the manifest.

    Raises:
        CheckpointError: it is missing, or of another size or hash.
    """
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: expected a file of {entry['bytes']} bytes")
    size = file.stat().st_size
    if size != entry["bytes"]:
        raise CheckpointError(f"{file} is damaged: it has {size} bytes, expected {entry['bytes']}")
    if hashed and sha256(file) != entry["sha256"]:
        raise CheckpointError(
            f"{file} is damaged: its sha256 is another than {FILE}'s, expected the file as written"
        )


def write_json(file: pathlib.Path, content: Any) -> None:
    """Writes JSON that people can read."""
    file.write_text(json.dumps(content, indent=1) + "\n")


def read_json(file: pathlib.Path) -> Any:
    """A JSON file of a checkpoint directory.

    Raises:
        CheckpointError: it is missing or no JSON.
    """
    try:
        return json.loads(file.read_text())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{file} is missing: expected a checkpoint directory with config.json, {FILE} and "
            "model.safetensors"
        ) from error
    except (ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} is damaged: expected JSON ({error})") from error
