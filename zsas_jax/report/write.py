"""Reports of finished runs: the same facts as report.html, report.md and report.csv."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from zsas_jax.files import atomic_path, save_csv
from zsas_jax.report import tables
from zsas_jax.report.charts import Series, histogram_chart, line_chart
from zsas_jax.report.page import Charts, Page, Section, Strip, file_picture, markdown, write_html
from zsas_jax.report.runs import Run, by_dataset, load_runs, warnings

MOST_CATEGORIES = 40  # with charts; tables have all
_CURVES: tuple[tuple[str, str, tuple[str, str], dict[str, Any]], ...] = (
    (
        "pixel_roc",
        "ROC of pixels",
        ("false-positive rate", "true-positive rate"),
        {"diagonal": True},
    ),
    ("pixel_precision_recall", "Precision-recall of pixels", ("recall", "precision"), {}),
    ("pixel_pro", "PRO", ("false-positive rate", "overlap of regions"), {"x_limit": 0.3}),
    (
        "image_roc",
        "ROC of images",
        ("false-positive rate", "true-positive rate"),
        {"diagonal": True},
    ),
    ("image_precision_recall", "Precision-recall of images", ("recall", "precision"), {}),
)
_TAGS = {
    "highest good": "good part, highest score",
    "highest": "highest score",
    "lowest": "lowest score",
}


def write_reports(
    directories: Sequence[pathlib.Path], destination: pathlib.Path
) -> list[pathlib.Path]:
    """Writes report.html, report.md and report.csv of these runs into `destination`.

    Raises:
        ConfigError: a directory without finished results.
    """
    runs = load_runs(directories)
    paths = [destination / f"report.{kind}" for kind in ("html", "md", "csv")]
    page = report_page(runs)
    write_html(page, paths[0])
    with atomic_path(paths[1]) as part:
        part.write_text(markdown(page, destination), "utf-8")
    save_csv(paths[2], *tables.csv_rows(runs))
    return paths


def report_page(runs: Sequence[Run]) -> Page:
    """The page of runs, grouped by data set."""
    groups = by_dataset(runs)
    methods = ", ".join(dict.fromkeys(run.config["method"] for run in runs))
    checkpoints = ", ".join(
        dict.fromkeys(str(run.config.get("checkpoint", "given")) for run in runs)
    )
    sections = []
    for dataset, members in groups.items():
        sections += _dataset_sections(dataset, members, f"{dataset}: " if len(groups) > 1 else "")
    sections.append(Section("Timing", 2, "timing", "timing", table=tables.timing_table(runs)))
    for number, run in enumerate(runs):
        text = json.dumps({"config": run.config, "versions": run.metrics["versions"]}, indent=1)
        title = f"Configuration: {run.label}"
        link = "" if number else "configuration"
        sections.append(Section(title, 2, f"configuration-{number}", link, code=text))
    return Page(
        f"Anomaly segmentation: {', '.join(groups)}",
        [f"Method {methods}; checkpoint {checkpoints}."],
        sections,
        warnings(runs),
    )


def _dataset_sections(dataset: str, runs: Sequence[Run], prefix: str) -> list[Section]:
    anchor = "".join(letter if letter.isalnum() else "-" for letter in dataset)
    labelled = [run for run in runs if run.is_labelled]
    if labelled:
        summary = tables.summary_table(dataset, labelled)
        sections = [Section(dataset, 2, anchor, f"{prefix}summary", table=summary)]
        for table in (tables.category_table(labelled), tables.defect_table(labelled)):
            if table.rows:
                sections.append(Section(table.title, table=table))
        sections.append(
            Section(
                "Curves and scores",
                anchor=f"{anchor}-curves",
                link=f"{prefix}curves",
                charts=_charts(labelled),
            )
        )
    else:
        text = ["No masks were given: scores and pictures only."]
        sections = [Section(dataset, 2, anchor, f"{prefix}summary", text)]
    for number, run in enumerate(runs):
        strips = run.details["strips"]
        if strips:
            sections.append(
                Section(
                    f"Pictures: {run.label}",
                    anchor=f"{anchor}-pictures-{number}",
                    link=f"pictures: {run.label}",
                    strips=[_strip(run, strip) for strip in strips],
                    legend=frozenset(p["kind"] for strip in strips for p in strip["panels"]),
                )
            )
    return sections


def _charts(runs: Sequence[Run]) -> list[Charts]:
    categories = sorted({name for run in runs for name in run.details["categories"]})
    return [Charts(name, _charts_of(name, runs)) for name in categories[:MOST_CATEGORIES]]


def _charts_of(category: str, runs: Sequence[Run]) -> list[str]:
    charts = []
    for name, title, labels, options in _CURVES:
        series = []
        for run in runs:
            stored = run.details["categories"].get(category, {}).get("curves", {})
            x, y = stored.get(name, ((), ()))
            series.append(Series(run.label, x, y, "precision_recall" in name))
        if any(len(line.x) for line in series):
            charts.append(line_chart(title, series, labels, **options))
    for run in runs:
        found = run.details["categories"].get(category)
        if found is not None:
            title = f"Image scores, {run.label}" if len(runs) > 1 else "Image scores"
            scores, threshold = found["scores"], run.config["verdict"]["image_threshold"]
            counts = scores["good"], scores["anomalous"]
            charts.append(histogram_chart(title, scores["edges"], *counts, threshold))
    return charts


def _strip(run: Run, strip: dict[str, Any]) -> Strip:
    facts = [
        strip["category"],
        strip["defect"],
        f"score {strip['score']:.2f}, called {strip['verdict']}",
    ]
    if strip["ap"] is not None:
        facts.append(f"pixel AP {100 * strip['ap']:.1f} %")
    facts.append(f"map's highest {strip['highest']:.2f}")
    pictures = [file_picture(p["caption"], run.directory / p["file"]) for p in strip["panels"]]
    kind: str = strip["kind"]
    return Strip(strip["name"], ", ".join(facts), [p for p in pictures if p], _TAGS.get(kind, kind))
