"""The report's pictures, kept while photos pass: the best, the worst, the worst false alarm.

A photo that ranks among them is drawn at once, from what the device has just computed; what it
drives out is deleted. Which ones remain does not depend on the order of the photos.
"""

import bisect
import pathlib
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from zsas_jax.evaluation.pictures import Panel, jpeg
from zsas_jax.files import atomic_path

FOLDER = "strips"
MOST_STRIPS = 60  # a page of more is cut down to the categories that it has room for


class Photo(NamedTuple):
    """What is kept of every photo: a row of tables, and what pictures are chosen by."""

    index: int
    """Position in the data source."""
    name: str
    category: str
    defect: str
    label: int
    """0 good, 1 anomalous, -1 unlabeled."""
    score: float
    verdict: str
    area: float
    """Share of the photo called anomalous."""
    highest: float
    """Of the anomaly map."""
    ap: float | None
    """Pixel AP of this photo alone, where it has an anomaly."""


_Rank = tuple[float, str, int]  # value (lowest first), name, position


def _ranks(photo: Photo) -> dict[str, _Rank]:
    """What the photo may be shown as, with its place in that list."""
    values = {}
    if photo.ap is not None:
        values = {"best": -photo.ap, "worst": photo.ap}
    elif photo.label == 0:
        values = {"highest good": -photo.score}
    elif photo.label < 0:
        values = {"highest": -photo.score, "lowest": photo.score}
    return {kind: (value, photo.name, photo.index) for kind, value in values.items()}


KINDS = ("best", "worst", "highest good", "highest", "lowest")


class Strips:
    """The chosen photos of each category, and their panels below `directory`/strips/."""

    def __init__(self, directory: pathlib.Path, categories: Sequence[str], per_category: int):
        self._directory, self._per_category = directory, per_category
        room = MOST_STRIPS // (3 * per_category) if per_category else 0
        self._shown = frozenset(sorted(categories)[: max(room, 1) if per_category else 0])
        self._ranked: dict[tuple[str, str], list[_Rank]] = defaultdict(list)
        self._drawn: dict[int, dict[str, Any]] = {}
        self._stale: set[int] = set()

    def offer(self, photo: Photo, draw: Callable[[], list[Panel]]) -> None:
        """Takes one photo; `draw` is called if it is among the chosen ones."""
        if photo.category not in self._shown:
            return
        driven_out = self._rank(photo)
        chosen = self._indices(photo.category)
        if photo.index in chosen:
            self._drawn[photo.index] = photo._asdict() | {"panels": self._write(photo, draw())}
        for index in driven_out - chosen:
            if self._drawn.pop(index, None):
                self._stale.add(index)

    def sweep(self) -> None:
        """Deletes what fell out; to be called when no journal names it any more."""
        for index in self._stale:
            shutil.rmtree(self._directory / FOLDER / _name(index), ignore_errors=True)
        self._stale.clear()

    def chosen(self) -> list[dict[str, Any]]:
        """The chosen photos by category and kind, each once, as JSON types."""
        found: dict[int, dict[str, Any]] = {}
        for category in sorted(self._shown):
            for kind in KINDS:
                for _, _, index in self._ranked[category, kind]:
                    found.setdefault(index, {"kind": kind, **self._drawn[index]})
        return list(found.values())

    def state(self) -> list[dict[str, Any]]:
        """Everything that was drawn and still counts, as JSON types."""
        return list(self._drawn.values())

    def restore(self, state: Iterable[dict[str, Any]], photos: Iterable[Photo]) -> None:
        """Continues from `state()` and the photos offered until then; deletes what came later."""
        for photo in photos:
            if photo.category in self._shown:
                self._rank(photo)
        self._drawn = {drawn["index"]: drawn for drawn in state}
        kept = {_name(index) for index in self._drawn}
        for folder in (self._directory / FOLDER).glob("*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _rank(self, photo: Photo) -> set[int]:
        """Puts the photo into its lists; the positions that fall out of one."""
        out = set()
        for kind, rank in _ranks(photo).items():
            ranked = self._ranked[photo.category, kind]
            bisect.insort(ranked, rank)
            out |= {index for _, _, index in ranked[self._per_category :]}
            del ranked[self._per_category :]
        return out

    def _indices(self, category: str) -> set[int]:
        return {index for kind in KINDS for _, _, index in self._ranked[category, kind]}

    def _write(self, photo: Photo, panels: Iterable[Panel]) -> list[dict[str, Any]]:
        written = []
        for number, panel in enumerate(panels):
            name = f"{FOLDER}/{_name(photo.index)}/{number}.jpg"
            with atomic_path(self._directory / name) as part:
                part.write_bytes(jpeg(panel.picture))
            size = list(panel.picture.size)
            written.append(
                {"caption": panel.caption, "kind": panel.kind, "file": name, "size": size}
            )
        return written


def _name(index: int) -> str:
    return f"{index:06d}"
