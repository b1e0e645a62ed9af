"""Tables of metrics, in percent: what a report and the terminal show of finished runs."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from zsas_jax.metrics import METRICS
from zsas_jax.metrics.names import EXTRA, TITLES
from zsas_jax.report.literature import Published, published
from zsas_jax.report.runs import Run

UNDEFINED = "-"


class Table(NamedTuple):
    """Rows of text below a header; the first column is left-aligned, numbers are right-aligned."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    text_columns: int = 1  # columns from the left that are text
    quiet: frozenset[int] = frozenset()  # rows that are not this report's own
    rank: bool = False  # whether the highest of each column is marked

    def best(self) -> set[tuple[int, int]]:
        """(row, column) of each column's highest among the own rows, where there are several."""
        own = [number for number in range(len(self.rows)) if number not in self.quiet]
        marked = set()
        ranked = self.rank and len(own) > 1
        for column in range(self.text_columns + 1, len(self.header)) if ranked else ():
            values = {}
            for number in own:
                try:
                    values[number] = float(self.rows[number][column].split()[0])
                except (ValueError, IndexError):
                    continue
            marked |= {(n, column) for n, value in values.items() if value == max(values.values())}
        return marked

    def markdown(self) -> str:
        """The table with its note."""
        rule = [
            "---" if column < self.text_columns else "---:" for column in range(len(self.header))
        ]
        lines = [
            "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |"
            for row in (self.header, rule, *self.rows)
        ]
        return "\n".join(lines) + (f"\n\n{self.note}" if self.note else "")

    def text(self) -> str:
        """The table for a terminal, columns aligned."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]

        def line(cells: Sequence[str]) -> str:
            padded = [
                cell.ljust(width) if column < self.text_columns else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ]
            return "  ".join(padded).rstrip()

        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([line(self.header), rule, *map(line, self.rows)])


def percent(fraction: float | None) -> str:
    """One decimal; a dash where the metric is undefined."""
    return UNDEFINED if fraction is None else f"{100 * fraction:.1f}"


def metrics_table(
    categories: Mapping[str, Mapping[str, float | None]], mean: Mapping[str, float | None] | None
) -> Table:
    """One row per category and, under more than one, their mean."""
    rows = [
        [name, *(percent(values[metric]) for metric in METRICS)]
        for name, values in categories.items()
    ]
    if mean is not None and len(categories) != 1:
        rows.append(["mean", *(percent(mean[metric]) for metric in METRICS)])
    return Table("Metrics", ["category", *(TITLES[name] for name in METRICS)], rows, "Percent.")


def columns(runs: Sequence[Run]) -> dict[str, str]:
    """Metrics of these runs and what their columns are called."""
    extra = [name for name in EXTRA if any(name in run.metrics["mean"] for run in runs)]
    return {name: TITLES[name] for name in (*METRICS, *extra)}


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
        used = dict.fromkeys(f"{row.source}: {row.citation}" for row in literature)
        note += f" Published rows: {'; '.join(used)}."
        note += (
            " Protocols differ between papers, so that a few points between two rows need not mean "
            "anything."
        )
        note += _other_photos(runs, literature)
    quiet = frozenset(range(len(runs), len(rows)))
    return Table("Summary", header, rows, note, 2, quiet, rank=True)


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
        run.label: collections.Counter(
            (photo["category"], photo["defect"]) for photo in run.details["photos"]
        )
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
                cells = [percent(values[name]) for name in METRICS]
                photos = str(counts[run.label][category, defect])
                rows.append([category, defect, run.label, photos, *cells])
    header = ["category", "defect type", "method", "photos", *(TITLES[name] for name in METRICS)]
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


def _resolution(run: Run) -> str:
    side = run.config["resolution"]
    return "each photo's own size" if side == "native" else f"{side} x {side} pixels, stretched"
