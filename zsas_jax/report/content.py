"""What a report says, before it is HTML, markdown or CSV: finished runs and their tables."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from zsas_jax.report import details as report_details
from zsas_jax.report.published import SOURCES, Published, published
from zsas_jax.report.results import load_results
from zsas_jax.report.tables import percent

FULL_COLUMNS = {
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "pixel_pro": "PRO",
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
}
EXTRA_COLUMNS = {
    "region_f1": "region F1",
    "boundary_f1": "boundary F1",
    "pixel_pro_200": "PRO (200)",
}


class Run(NamedTuple):
    """The results of one method on one data set, as stored."""

    directory: pathlib.Path
    label: str
    metrics: dict[str, Any]
    details: dict[str, Any]
    failures: list[tuple[str, str]]

    @property
    def config(self) -> dict[str, Any]:
        """The run's settings."""
        return self.metrics["config"]

    @property
    def dataset(self) -> str:
        """The name of the data set."""
        return self.config["dataset"]

    @property
    def is_labelled(self) -> bool:
        """Whether any metric is defined."""
        return any(value is not None for value in self.metrics["mean"].values())


class Table(NamedTuple):
    """Rows of text below a header; the first column is left-aligned, numbers are right-aligned."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    text_columns: int = 1  # columns from the left that are text
    quiet: frozenset[int] = frozenset()  # rows that are not this report's own


def load_runs(directories: Iterable[pathlib.Path]) -> list[Run]:
    """Finished runs, labelled by what tells them apart.

    Raises:
        ConfigError: a directory without finished results.
    """
    found = []
    for directory in directories:
        metrics, _, failures = load_results(directory)
        found.append(Run(directory, "", metrics, report_details.load(directory), failures))
    several_datasets = len({run.dataset for run in found}) > 1
    several_checkpoints = len({run.config.get("checkpoint") for run in found}) > 1
    labelled = []
    for run in found:
        parts = [run.config["method"]]
        if several_checkpoints:
            parts.append(str(run.config.get("checkpoint")))
        if several_datasets:
            parts.append(run.dataset)
        labelled.append(run._replace(label=" · ".join(parts)))
    return labelled


def by_dataset(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs grouped by their data set, in order."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.dataset, []).append(run)
    return groups


def warnings(runs: Sequence[Run]) -> list[str]:
    """What a reader must know before the numbers, each once."""
    found = [text for run in runs for text in run.metrics.get("warnings") or ()]
    found += [
        f"{run.label}: {len(run.failures)} photos failed; first: "
        f"{run.failures[0][0]}: {run.failures[0][1]}"
        for run in runs
        if run.failures
    ]
    return list(dict.fromkeys(found))


def columns(runs: Sequence[Run]) -> dict[str, str]:
    """Metrics of these runs and what their columns are called."""
    extra = {
        name: title
        for name, title in EXTRA_COLUMNS.items()
        if any(name in run.metrics["mean"] for run in runs)
    }
    return FULL_COLUMNS | extra


def summary_table(dataset: str, runs: Sequence[Run]) -> Table:
    """The mean over categories of each run, above what papers report."""
    names = columns(runs)
    header = ["method", "source", "photos", *names.values()]
    rows = []
    for run in runs:
        confidence = run.metrics.get("confidence", {}).get("mean", {})
        cells = [_with_interval(run.metrics["mean"].get(n), confidence.get(n)) for n in names]
        rows.append([run.label, "this run", str(run.metrics["timing"]["images"]), *cells])
    theirs = {"pixel_auroc": "auroc", "pixel_ap": "ap", "pixel_f1_max": "f1_max"}
    theirs["pixel_pro"] = "pro"
    literature = published(dataset)
    for row in literature:
        values = [getattr(row, theirs[name]) if name in theirs else None for name in names]
        cells = ["" if value is None else f"{value:.1f}" for value in values]
        rows.append([row.method, row.source, str(row.photos or ""), *cells])
    note = f"Percent, mean over categories; pixel metrics at {_resolution(runs[0])}."
    if literature:
        used = dict.fromkeys(row.source for row in literature)
        note += " Published rows: " + "; ".join(f"{name}: {SOURCES[name]}" for name in used) + "."
        note += (
            " Protocols differ between papers, so that a few points between two rows need not mean "
            "anything."
        )
        note += _other_photos(runs, literature)
    quiet = frozenset(range(len(runs), len(rows)))
    return Table("Summary", header, rows, note, 2, quiet)


def _other_photos(runs: Sequence[Run], literature: Sequence[Published]) -> str:
    """Sentences about published rows that rest on other photos than some of the runs."""
    text = ""
    seen = dict.fromkeys(run.metrics["timing"]["images"] for run in runs)
    for photos, note in dict.fromkeys((row.photos, row.note) for row in literature):
        others = [number for number in seen if photos and number != photos]
        if others:
            whose = dict.fromkeys(row.source for row in literature if row.photos == photos)
            text += (
                f" These runs saw {others[0]} photos, the rows of {', '.join(whose)} rest on "
                f"{photos} ({note or 'the published test set'}): they are not comparable."
            )
    return text


def category_table(runs: Sequence[Run]) -> Table:
    """One row per category and run."""
    names = columns(runs)
    categories = sorted({name for run in runs for name in run.metrics["categories"]})
    rows = []
    for category in categories:
        for run in runs:
            values = run.metrics["categories"].get(category)
            if values is None:
                continue
            own = run.metrics.get("confidence", {}).get("categories", {}).get(category, {})
            cells = [_with_interval(values.get(name), own.get(name)) for name in names]
            rows.append([category, run.label, *cells])
    return Table("By category", ["category", "method", *names.values()], rows, "Percent.", 2)


def defect_table(runs: Sequence[Run]) -> Table:
    """One row per category, defect type and run."""
    rows = []
    counts = {
        run.label: _counts((photo["category"], photo["defect"]) for photo in run.details["photos"])
        for run in runs
    }
    types = sorted(
        {
            (category, defect)
            for run in runs
            for category, defects in run.metrics.get("defect_types", {}).items()
            for defect in defects
        }
    )
    for category, defect in types:
        for run in runs:
            values = run.metrics["defect_types"].get(category, {}).get(defect)
            if values is not None:
                cells = [percent(values[name]) for name in FULL_COLUMNS]
                photos = str(counts[run.label].get((category, defect), 0))
                rows.append([category, defect, run.label, photos, *cells])
    header = ["category", "defect type", "method", "photos", *FULL_COLUMNS.values()]
    note = "Percent; the photos of one defect type against all good ones of the category."
    return Table("By defect type", header, rows, note, 3)


def timing_table(runs: Sequence[Run]) -> Table:
    """Speed, and where the time went."""
    rows = []
    for run in runs:
        timing = run.metrics["timing"]
        slowest = sorted(timing["steps_seconds"].items(), key=lambda item: -item[1])[:3]
        rows.append(
            [
                run.label,
                ", ".join(f"{name} {seconds:.1f} s" for name, seconds in slowest),
                run.metrics["versions"]["device"],
                str(timing.get("devices", 1)),
                str(timing["images"]),
                f"{timing['images_per_second']:.2f}",
                f"{timing['compile_seconds']:.1f}",
                f"{timing['total_seconds']:.1f}",
            ]
        )
    header = ["method", "slowest steps", "device", "devices", "photos", "photos / s"]
    return Table("Timing", [*header, "compiling, s", "in all, s"], rows, "", 3)


def csv_rows(runs: Sequence[Run]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of report.csv: fractions, one row per mean, category and defect type."""
    names = list(columns(runs))
    header = ["dataset", "checkpoint", "method", "category", "defect_type", *names]
    rows: list[list[Any]] = []
    for run in runs:
        who = [run.dataset, run.config.get("checkpoint", ""), run.config["method"]]
        parts = [("mean", "", run.metrics["mean"])]
        for category, values in run.metrics["categories"].items():
            parts.append((category, "", values))
            parts += [
                (category, defect, row)
                for defect, row in run.metrics.get("defect_types", {}).get(category, {}).items()
            ]
        for category, defect, values in parts:
            cells = [values.get(name) for name in names]
            rows.append([*who, category, defect, *("" if v is None else v for v in cells)])
    return header, rows


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    text = percent(value)
    if value is None or interval is None:
        return text
    return f"{text} ({percent(interval[0])} to {percent(interval[1])})"


def _counts(items: Iterable[Any]) -> dict[Any, int]:
    counts: dict[Any, int] = {}
    for item in items:
        counts[item] = counts.get(item, 0) + 1
    return counts


def _resolution(run: Run) -> str:
    side = run.config["resolution"]
    return "each photo's own size" if side == "native" else f"{side} x {side} pixels, stretched"
