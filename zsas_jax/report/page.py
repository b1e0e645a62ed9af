"""The HTML page of one or several runs: one file that opens anywhere, with no network."""

import base64
import json
import pathlib
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from typing import Any

from zsas_jax.files import atomic_path
from zsas_jax.report import content
from zsas_jax.report.charts import Series, histogram_chart, legend, line_chart
from zsas_jax.report.content import Run, Table

MOST_CATEGORIES = 40  # with charts; tables have all
_CURVES: tuple[tuple[str, str, str, str, Any], ...] = (
    ("pixel_roc", "ROC of pixels", "false-positive rate", "true-positive rate", {"diagonal": True}),
    ("pixel_precision_recall", "Precision-recall of pixels", "recall", "precision", {}),
    (
        "pixel_pro",
        "PRO",
        "false-positive rate",
        "overlap of regions",
        {"x_limit": (0.0, 0.3)},
    ),
    ("image_roc", "ROC of images", "false-positive rate", "true-positive rate", {"diagonal": True}),
    ("image_precision_recall", "Precision-recall of images", "recall", "precision", {}),
)
_KINDS = {
    "best": "best",
    "median": "median",
    "worst": "worst",
    "highest good": "good part, highest score",
    "highest": "highest score",
    "lowest": "lowest score",
}


def write_html(runs: Sequence[Run], path: pathlib.Path) -> None:
    """Writes the page; pictures are part of it."""
    with atomic_path(path) as part:
        part.write_text(html_page(runs), "utf-8")


def html_page(runs: Sequence[Run]) -> str:
    """The page of runs, grouped by data set."""
    groups = content.by_dataset(runs)
    names = ", ".join(groups)
    body = [
        f"<h1>Anomaly segmentation: {escape(names)}</h1>",
        f'<p class="lead">{escape(_lead(runs))}</p>',
    ]
    body += [f'<p class="warning">{escape(text)}</p>' for text in content.warnings(runs)]
    body.append(_navigation(groups))
    for dataset, members in groups.items():
        body.append(_dataset_section(dataset, members))
    body += [
        '<h2 id="timing">Timing</h2>',
        table_html(content.timing_table(runs)),
        '<h2 id="configuration">Configuration</h2>',
        *map(_configuration, runs),
    ]
    return document(f"Anomaly segmentation: {names}", body)


def document(title: str, body: Iterable[str]) -> str:
    """A whole page with the reports' style."""
    style = resources.files("zsas_jax.report").joinpath("style.css").read_text("utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An icon of its own, or browsers ask the server for one.
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def data_uri(path: pathlib.Path) -> str:
    """A JPEG as part of the page; empty where it is missing."""
    try:
        return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return ""


def _lead(runs: Sequence[Run]) -> str:
    methods = ", ".join(dict.fromkeys(run.config["method"] for run in runs))
    checkpoints = dict.fromkeys(str(run.config.get("checkpoint", "given")) for run in runs)
    return f"Method {methods}; checkpoint {', '.join(checkpoints)}."


def _navigation(groups: dict[str, list[Run]]) -> str:
    links = []
    for dataset, runs in groups.items():
        anchor = _anchor(dataset)
        prefix = f"{dataset}: " if len(groups) > 1 else ""
        links.append((anchor, prefix + "summary"))
        if any(run.is_labelled for run in runs):
            links += [(f"{anchor}-curves", prefix + "curves")]
        links += [
            (f"{anchor}-pictures-{number}", f"pictures: {run.label}")
            for number, run in enumerate(runs)
            if run.details["strips"]
        ]
    links += [("timing", "timing"), ("configuration", "configuration")]
    items = (f'<a href="#{target}">{escape(text)}</a>' for target, text in links)
    return f"<nav>{''.join(items)}</nav>"


def _dataset_section(dataset: str, runs: Sequence[Run]) -> str:
    anchor = _anchor(dataset)
    parts = [f'<h2 id="{anchor}">{escape(dataset)}</h2>']
    labelled = [run for run in runs if run.is_labelled]
    if labelled:
        parts += [table_html(content.summary_table(dataset, labelled), best=True)]
        parts += [table_html(content.category_table(labelled), heading=True)]
        defects = content.defect_table(labelled)
        if defects.rows:
            parts += [table_html(defects, heading=True)]
        parts += [f'<h3 id="{anchor}-curves">Curves and scores</h3>', *_charts(labelled)]
    else:
        parts.append("<p>No masks were given: scores and pictures only.</p>")
    for number, run in enumerate(runs):
        if run.details["strips"]:
            parts.append(f'<h3 id="{anchor}-pictures-{number}">Pictures: {escape(run.label)}</h3>')
            parts.append(_picture_legend(run))
            parts += [_strip(run, strip) for strip in run.details["strips"]]
    return "\n".join(parts)


def _charts(runs: Sequence[Run]) -> list[str]:
    categories = sorted({name for run in runs for name in run.details["categories"]})
    parts = [
        legend([run.label for run in runs]),
        '<p class="note">Score histograms: <span class="swatch" style="background:'
        'repeating-linear-gradient(45deg,#56b4e9 0 2px,#00507d 2px 4px)"></span>good (hatched) '
        '<span class="swatch" style="background:#d55e00"></span>anomalous; the dashed line is the '
        "verdict's threshold.</p>",
    ]
    for category in categories[:MOST_CATEGORIES]:
        parts.append(f"<h4>{escape(category)}</h4>")
        charts = []
        for name, title, x_label, y_label, options in _CURVES:
            series = []
            for run in runs:
                stored = run.details["categories"].get(category, {}).get("curves", {})
                x, y = stored.get(name, ((), ()))
                series.append(Series(run.label, x, y, "precision_recall" in name))
            if any(len(line.x) for line in series):
                charts.append(line_chart(title, series, x_label, y_label, **options))
        for run in runs:
            found = run.details["categories"].get(category)
            if found is not None:
                scores = found["scores"]
                charts.append(
                    histogram_chart(
                        f"Image scores, {run.label}" if len(runs) > 1 else "Image scores",
                        scores["edges"],
                        scores["good"],
                        scores["anomalous"],
                        run.config["pipeline"]["image_threshold"],
                    )
                )
        parts.append(f'<div class="charts">{"".join(charts)}</div>')
    if len(categories) > MOST_CATEGORIES:
        parts.append(f'<p class="note">Charts of {MOST_CATEGORIES} of {len(categories)}.</p>')
    return parts


def _picture_legend(run: Run) -> str:
    text = (
        '<p class="note"><span class="swatch" style="background:#00be8c"></span>truth '
        '<span class="swatch" style="background:#ff7800"></span>result; maps from 0 '
        '<span class="ramp"></span> to 1'
    )
    if any(panel["caption"] == "prompts" for s in run.details["strips"] for panel in s["panels"]):
        text += (
            '; prompts: <span class="swatch" style="background:#56b4e9"></span>positive point '
            '(disc) <span class="swatch" style="background:#d55e00"></span>negative point (cross) '
            '<span class="swatch" style="background:#f0e442"></span>box'
        )
    return text + ". Anomalous pictures rank by their own pixel AP.</p>"


def _strip(run: Run, strip: dict[str, Any]) -> str:
    facts = [strip["category"], strip["defect"]]
    facts.append(f"score {strip['score']:.2f}, called {strip['verdict']}")
    if strip["ap"] is not None:
        facts.append(f"pixel AP {100 * strip['ap']:.1f} %")
    facts.append(f"map's highest {strip['highest']:.2f}")
    figures = []
    for panel in strip["panels"]:
        width, height = panel["size"]
        caption = panel["caption"]
        figures.append(
            f'<figure><img src="{data_uri(run.directory / panel["file"])}" width="{width}" '
            f'height="{height}" alt="{escape(caption)} of {escape(strip["name"])}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    kind = _KINDS.get(strip["kind"]) or str(strip["kind"])
    return (
        f'<div class="strip"><p><span class="tag">{escape(kind)}</span>'
        f"{escape(strip['name'])} · {escape(', '.join(facts))}</p>"
        f'<div class="panels{" even" if len(figures) in (2, 4) else ""}">'
        f"{''.join(figures)}</div></div>"
    )


def _configuration(run: Run) -> str:
    text = json.dumps({"config": run.config, "versions": run.metrics["versions"]}, indent=1)
    return f"<h3>{escape(run.label)}</h3><pre>{escape(text)}</pre>"


def table_html(table: Table, *, heading: bool = False, best: bool = False) -> str:
    """A table; `best` marks the highest of each column among this report's own rows."""
    marked = _best_cells(table) if best else set()

    def cell(tag: str, row: int, column: int, text: str) -> str:
        names = ["text"] if column < table.text_columns else []
        names += ["best"] if (row, column) in marked else []
        kind = f' class="{" ".join(names)}"' if names else ""
        value, bracket, interval = text.partition(" (")
        shown = escape(text)
        if bracket and tag == "td" and column >= table.text_columns:  # narrow columns
            shown = f"{escape(value)}<br><small>({escape(interval)}</small>"
        return f"<{tag}{kind}>{shown}</{tag}>"

    def line(tag: str, row: int, cells: Sequence[str]) -> str:
        kind = ' class="quiet"' if row in table.quiet else ""
        inside = "".join(cell(tag, row, column, text) for column, text in enumerate(cells))
        return f"<tr{kind}>{inside}</tr>"

    rows = "".join(line("td", number, row) for number, row in enumerate(table.rows))
    parts = [
        f"<h3>{escape(table.title)}</h3>" if heading else "",
        f'<div class="scroll"><table><thead>{line("th", -1, table.header)}</thead>'
        f"<tbody>{rows}</tbody></table></div>",
        f'<p class="note">{escape(table.note)}</p>' if table.note else "",
    ]
    return "\n".join(part for part in parts if part)


def _best_cells(table: Table) -> set[tuple[int, int]]:
    """The highest of each column among the report's own rows, where there are several."""
    own = [number for number in range(len(table.rows)) if number not in table.quiet]
    marked = set()
    for column in range(table.text_columns + 1, len(table.header)) if len(own) > 1 else ():
        values = {}
        for number in own:
            try:
                values[number] = float(table.rows[number][column].split()[0])
            except (ValueError, IndexError):
                continue
        marked |= {(n, column) for n, value in values.items() if value == max(values.values())}
    return marked


def _anchor(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
