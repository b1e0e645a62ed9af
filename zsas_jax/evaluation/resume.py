"""What an interrupted evaluation has computed so far, so that the next one goes on from there.

One file, replaced as a whole, holds everything up to a batch: which photos are done, rows of
tables and the state of the metrics. What was computed after it is computed again, with the same
result, because results depend on photo and seed alone and batches are made up alike.
"""

import hashlib
import json
import os
import pathlib
import time
import zipfile
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

import jax
import numpy as np

from zsas_jax.data.folder import walk
from zsas_jax.evaluation.options import JOURNAL_SECONDS
from zsas_jax.files import atomic_path

JOURNAL = "journal.npz"
SHARE = 0.05  # of the time that saving may take
# Reports of several runs; they may lie above the results, and no data set is read from them.
_REPORTS = frozenset(["report.html", "report.md", "report.csv", "comparison.html", "comparison.md"])


class Journal:
    """Saves and restores a tree of JSON types and named arrays."""

    def __init__(
        self,
        directory: pathlib.Path,
        key: str,
        interval: float = JOURNAL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.path, self.key, self.interval, self._clock = directory / JOURNAL, key, interval, clock
        self._saved_at = clock()
        self._cost = 0.0

    def load(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """What was saved under the same key, or None."""
        try:
            with np.load(self.path, allow_pickle=False) as stored:
                facts = json.loads(bytes(stored["facts"]))
                if facts.pop("key") != self.key:
                    return None
                return facts, {name: stored[name] for name in stored.files if name != "facts"}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def is_due(self) -> bool:
        """Whether it is time to save again; with an interval of 0, always."""
        since = self._clock() - self._saved_at
        return not self.interval or since >= max(self.interval, self._cost / SHARE)

    def save(self, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Replaces what was saved."""
        started = self._clock()
        text = json.dumps({**facts, "key": self.key}).encode()
        with atomic_path(self.path) as part, part.open("wb") as file:
            everything: dict[str, Any] = {"facts": np.frombuffer(text, np.uint8), **arrays}
            np.savez(file, **everything)
            file.flush()
            os.fsync(file.fileno())
        self._saved_at = self._clock()
        self._cost = self._saved_at - started

    def remove(self) -> None:
        """After the last batch, when the results themselves are written."""
        self.path.unlink(missing_ok=True)


def run_key(settings: Mapping[str, Any], **facts: Any) -> str:
    """A hash of everything that results depend on: settings, data, weights and the program."""
    text = json.dumps([settings, facts, _program()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def tree_fingerprint(*roots: str | os.PathLike[str] | None) -> str | None:
    """A hash of names, sizes and times of all files below; None where no directory is given.

    Links are followed; what evaluations wrote is left out.
    """
    digest = hashlib.sha256()
    given = [os.fspath(root) for root in roots if root is not None]
    for root in given:
        for folder, folders, files in walk(root):
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in (*links, *(name for name in files if name not in _REPORTS)):
                path = os.path.join(folder, name)
                try:
                    # A folder that two links lead to is walked once: links count by themselves.
                    stat = os.lstat(path) if name in links else os.stat(path)
                except OSError:
                    continue
                line = f"{os.path.relpath(path, root)}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest() if given else None


def _program() -> list[str]:
    """The package's own source files, the versions of what computes, and on what it computes."""
    package = pathlib.Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    versions = [metadata.version(name) for name in ("jax", "jaxlib", "numpy")]
    precision = str(jax.config.jax_default_matmul_precision)  # pyright: ignore
    return [digest.hexdigest(), *versions, jax.devices()[0].device_kind, precision]
