"""Reports of finished runs: the same facts as report.html, report.md and report.csv."""

import os
import pathlib
from collections.abc import Sequence

from zsas_jax.files import atomic_path
from zsas_jax.report import content
from zsas_jax.report.content import Run, Table
from zsas_jax.report.files import save_csv
from zsas_jax.report.page import write_html


def write_reports(
    directories: Sequence[pathlib.Path], destination: pathlib.Path
) -> list[pathlib.Path]:
    """Writes report.html, report.md and report.csv of these runs into `destination`.

    Raises:
        ConfigError: a directory without finished results.
    """
    runs = content.load_runs(directories)
    paths = [destination / f"report.{kind}" for kind in ("html", "md", "csv")]
    write_html(runs, paths[0])
    with atomic_path(paths[1]) as part:
        part.write_text(markdown(runs, destination), "utf-8")
    save_csv(paths[2], *content.csv_rows(runs))
    return paths


def markdown(runs: Sequence[Run], destination: pathlib.Path) -> str:
    """The report as markdown; pictures are links relative to `destination`."""
    groups = content.by_dataset(runs)
    parts = [f"# Anomaly segmentation: {', '.join(groups)}"]
    parts += [f"> **Warning:** {text}" for text in content.warnings(runs)]
    for dataset, members in groups.items():
        parts.append(f"## {dataset}")
        labelled = [run for run in members if run.is_labelled]
        if labelled:
            parts.append(markdown_table(content.summary_table(dataset, labelled)))
            for table in (content.category_table(labelled), content.defect_table(labelled)):
                if table.rows:
                    parts += [f"### {table.title}", markdown_table(table)]
        else:
            parts.append("No masks were given: scores and pictures only.")
        for run in members:
            if run.details["strips"]:
                parts.append(f"### Pictures: {run.label}")
                parts += [_strip(run, strip, destination) for strip in run.details["strips"]]
    parts += ["## Timing", markdown_table(content.timing_table(runs))]
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """A table with its note."""
    left = table.text_columns
    rule = ["---" if column < left else "---:" for column in range(len(table.header))]
    rows = [table.header, rule, *table.rows]
    lines = ["| " + " | ".join(_cell(text) for text in row) + " |" for row in rows]
    return "\n".join(lines) + (f"\n\n{table.note}" if table.note else "")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _strip(run: Run, strip: dict, destination: pathlib.Path) -> str:
    title = (
        f"**{strip['kind']}**: `{strip['name']}`, {strip['defect']}, "
        f"score {strip['score']:.2f}, called {strip['verdict']}"
    )
    links = []
    for panel in strip["panels"]:
        target = os.path.relpath(run.directory / panel["file"], destination)
        links.append(f"![{panel['caption']}](<{pathlib.Path(target).as_posix()}>)")
    return f"{title}\n\n{' '.join(links)}"
