"""Published zero-shot results (literature.csv), to be put beside one's own.

Protocols differ between papers (resolution, PRO by 200 thresholds, map normalisation), so that
differences of a few points between two rows need not mean anything.
"""

import csv
import functools
from importlib import resources
from typing import NamedTuple


class Published(NamedTuple):
    """One row of a paper's table, percent; None where it is not given."""

    dataset: str
    method: str
    auroc: float | None
    f1_max: float | None
    ap: float | None
    pro: float | None
    source: str
    """Short, for a column."""
    photos: int | None
    """That it rests on; None where this is not known."""
    note: str
    """What is not the published test set about these."""
    citation: str


@functools.cache
def literature() -> tuple[Published, ...]:
    """All rows of literature.csv."""
    text = resources.files("zsas_jax.report").joinpath("literature.csv").read_text("utf-8")
    rows = []
    for row in csv.DictReader(text.splitlines()):
        numbers = {
            name: float(row[name]) if row[name] else None
            for name in ("auroc", "f1_max", "ap", "pro")
        }
        photos = int(row["photos"]) if row["photos"] else None
        rows.append(Published(**{**row, **numbers, "photos": photos}))
    return tuple(rows)


def published(dataset: str) -> list[Published]:
    """The rows known for a data set of the registry, the strongest first; none for others."""
    key = dataset.lower().replace("-", "").replace("_", "")
    rows = [row for row in literature() if row.dataset.replace("_", "") == key]
    return sorted(rows, key=lambda row: (row.source, -(row.ap or row.f1_max or 0)))
