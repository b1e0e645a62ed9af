"""Metrics in one .npz file, so that an interrupted evaluation goes on where it was."""

import os
import zipfile
from collections.abc import Mapping

import numpy as np

from zsas_jax.files import atomic_path
from zsas_jax.metrics.streaming import MetricsError, StreamingMetrics

_VERSION = 2


def save_metrics(path: str | os.PathLike[str], metrics: Mapping[str, StreamingMetrics]) -> None:
    """Writes named metrics (one per category, say); the file is whole or not there at all."""
    arrays = {"version": np.array(_VERSION), "names": np.array(list(metrics), np.str_)}
    for index, part in enumerate(metrics.values()):
        arrays |= {f"{index}.{name}": array for name, array in part.state().items()}
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def load_metrics(path: str | os.PathLike[str]) -> dict[str, StreamingMetrics]:
    """Reads what `save_metrics` wrote; everything goes on as if it had not been interrupted.

    Raises:
        MetricsError: a file that is missing, damaged or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if (version := int(file["version"])) != _VERSION:
                raise MetricsError(
                    f"{path} holds metrics of version {version}: expected {_VERSION}"
                )
            groups: dict[str, dict[str, np.ndarray]] = {}
            for key in file.files:
                index, _, name = key.partition(".")
                groups.setdefault(index, {})[name] = file[key]
        names = groups["names"][""].tolist()
        return {
            name: StreamingMetrics.from_state(groups[str(index)])
            for index, name in enumerate(names)
        }
    except MetricsError:
        raise
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise MetricsError(
            f"{path} cannot be read ({error}): expected metrics as save_metrics writes them"
        ) from error
