"""What changed between two runs: settings, metrics by category, and single pictures."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float, Float16
from PIL import Image

from zsas_jax.files import atomic_path
from zsas_jax.report import tables
from zsas_jax.report.page import (
    Page,
    Picture,
    Section,
    Strip,
    drawn_picture,
    file_picture,
    markdown,
    write_html,
)
from zsas_jax.report.runs import Run, load_runs
from zsas_jax.report.tables import Table, percent

MOST_PICTURES = 20
_ENLARGED = 240  # pixels


class Difference(NamedTuple):
    """One photo in both runs, A and B."""

    name: str
    category: str
    distance: float | None  # mean absolute difference of the maps, 0 to 1
    first: dict[str, Any]
    second: dict[str, Any]

    @property
    def size(self) -> tuple[float, float, str]:
        """What pictures are ordered by: maps, then scores."""
        return (self.distance or 0.0, abs(self.second["score"] - self.first["score"]), self.name)


def compare(first: pathlib.Path, second: pathlib.Path, destination: pathlib.Path) -> str:
    """Writes comparison.html and comparison.md into `destination`; returns the markdown.

    Raises:
        ConfigError: a directory without finished results.
    """
    runs = [
        run._replace(label=f"{mark}: {run.directory}")
        for mark, run in zip("AB", load_runs([first, second]), strict=True)
    ]
    found = differences(*runs)
    shown = [_settings_table(*runs), _metrics_table(*runs), _pictures_table(found)]
    sections = [Section(table.title, 2, table=table) for table in shown if table.rows]
    if found:
        sections.append(Section("Maps side by side", 2, strips=_strips(found, *runs)))
    facts = [f"A is {runs[0].directory}, B is {runs[1].directory}.", _flips(found, *runs)]
    page = Page("What changed", facts, sections)
    text = markdown(page)
    with atomic_path(destination / "comparison.md") as part:
        part.write_text(text, "utf-8")
    write_html(page, destination / "comparison.html")
    return text


def differences(first: Run, second: Run) -> list[Difference]:
    """The photos that both runs have, the most different ones first."""
    before = {photo["name"]: photo for photo in first.details["photos"]}
    maps = [_small_maps(run) for run in (first, second)]
    found = []
    for photo in second.details["photos"]:
        other = before.get(photo["name"])
        if other is None:
            continue
        pair = [_small(m, p["index"]) for m, p in zip(maps, (other, photo), strict=True)]
        distance = None
        if pair[0] is not None and pair[1] is not None:
            distance = float(np.abs(pair[0] - pair[1]).mean())
        found.append(Difference(photo["name"], photo["category"], distance, other, photo))
    return sorted(found, key=lambda item: item.size, reverse=True)


def _settings_table(first: Run, second: Run) -> Table:
    rows = []
    left, right = (
        _flat({"config": run.config, "versions": run.metrics["versions"]})
        for run in (first, second)
    )
    for name in sorted({*left, *right}):
        if left.get(name) != right.get(name):
            rows.append([name, str(left.get(name)), str(right.get(name))])
    return Table("Settings that differ", ["setting", "A", "B"], rows, "", 3)


def _metrics_table(first: Run, second: Run) -> Table:
    names = tables.columns([first, second])
    categories = sorted({*first.metrics["categories"], *second.metrics["categories"]})
    parts = [
        (name, *(run.metrics["categories"].get(name) for run in (first, second)))
        for name in categories
    ]
    parts.append(("mean", first.metrics["mean"], second.metrics["mean"]))
    rows = []
    for category, left, right in parts:
        if left is None or right is None:
            rows.append([category, *[f"only in {'B' if left is None else 'A'}"] * len(names)])
            continue
        rows.append([category, *(_change(left.get(name), right.get(name)) for name in names)])
    note = "Percent: A to B (difference in points)."
    return Table("Metrics", ["category", *names.values()], rows, note)


def _pictures_table(found: Sequence[Difference]) -> Table:
    rows = []
    for item in found[:MOST_PICTURES]:
        left, right = item.first, item.second
        rows.append(
            [
                item.name,
                item.category,
                left["defect"],
                f"{left['verdict']}, {right['verdict']}"
                if left["verdict"] != right["verdict"]
                else left["verdict"],
                "" if item.distance is None else f"{item.distance:.4f}",
                f"{left['score']:.3f} to {right['score']:.3f}",
                _change(left["ap"], right["ap"]),
            ]
        )
    header = ["photo", "category", "defect", "verdict", "maps differ by", "score", "pixel AP"]
    note = "Maps differ by the mean absolute difference of their values, 0 to 1."
    return Table("Pictures that differ most", header, rows, note, 4)


def _flips(found: Sequence[Difference], first: Run, second: Run) -> str:
    flipped = [item for item in found if item.first["verdict"] != item.second["verdict"]]
    text = f"{len(found)} photos are in both; the verdict changed for {len(flipped)}"
    known = [item for item in flipped if item.second["label"] >= 0]
    if known:
        right = sum(
            (item.second["verdict"] == "anomalous") == bool(item.second["label"]) for item in known
        )
        text += f", {right} of {len(known)} of them to the right one"
    only = [len(run.details["photos"]) - len(found) for run in (first, second)]
    return text + (f"; {only[0]} are only in A, {only[1]} only in B." if any(only) else ".")


def _strips(found: Sequence[Difference], first: Run, second: Run) -> list[Strip]:
    maps = [_small_maps(run) for run in (first, second)]
    strips = []
    for item in found[:MOST_PICTURES]:
        pair = [_small(m, p["index"]) for m, p in zip(maps, (item.first, item.second), strict=True)]
        pictures: list[Picture | None] = []
        if pair[0] is not None and pair[1] is not None:
            top = max(float(pair[0].max()), float(pair[1].max()), 1e-6)
            change = np.abs(pair[1] - pair[0])
            largest = max(float(change.max()), 1e-6)
            pictures = [
                _heat("A: anomaly map", pair[0] / top),
                _heat("B: anomaly map", pair[1] / top),
                _heat(f"difference, largest {largest:.3f}", change / largest),
            ]
        for mark, run in (("A", first), ("B", second)):
            path = run.directory / "overlays" / f"{item.name}.jpg"
            pictures.append(file_picture(f"{mark}: overlay", path))
        strips.append(Strip(item.name, item.category, [p for p in pictures if p]))
    return strips


def _heat(caption: str, values: Float[np.ndarray, "h w"]) -> Picture:
    pixels = np.asarray(matplotlib.colormaps["magma"](values, bytes=True))[..., :3]
    return drawn_picture(caption, Image.fromarray(pixels).resize((_ENLARGED, _ENLARGED)))


def _small_maps(run: Run) -> Float16[np.ndarray, "n h w"] | None:
    try:
        return np.load(run.directory / "small_maps.npy", mmap_mode="r")
    except (OSError, ValueError):
        return None


def _small(maps: np.ndarray | None, index: int) -> Float[np.ndarray, "h w"] | None:
    if maps is None or index >= len(maps):
        return None
    found = np.asarray(maps[index], np.float32)
    return found if np.isfinite(found).all() else None


def _change(left: float | None, right: float | None) -> str:
    if left is None and right is None:
        return ""
    text = f"{percent(left)} to {percent(right)}"
    if left is not None and right is not None:
        text += f" ({100 * (right - left):+.1f})"
    return text


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, Any] = {}
    for name, item in value.items():
        found |= _flat(item, f"{path}.{name}" if path else name)
    return found
