"""Tables of metrics for the terminal and for markdown, in percent."""

from collections.abc import Mapping, Sequence

COLUMNS = {
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "AP",
    "pixel_f1_max": "F1-max",
    "pixel_pro": "PRO",
    "image_auroc": "image AUROC",
    "image_ap": "AP",
    "image_f1_max": "F1-max",
}
UNDEFINED = "-"

Metrics = Mapping[str, float | None]


def percent(fraction: float | None) -> str:
    """One decimal; a dash where the metric is undefined."""
    return UNDEFINED if fraction is None else f"{100 * fraction:.1f}"


def metrics_table(
    categories: Mapping[str, Metrics], mean: Metrics | None, *, markdown: bool = False
) -> str:
    """One line per category and, under more than one, their mean."""
    rows = [[name, *map(percent, _ordered(values))] for name, values in categories.items()]
    if mean is not None and len(categories) != 1:
        rows.append(["mean", *map(percent, _ordered(mean))])
    header = ["category", *COLUMNS.values()]
    return _markdown(header, rows) if markdown else _text(header, rows, len(categories))


def _ordered(values: Metrics) -> list[float | None]:
    return [values[name] for name in COLUMNS]


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _text(header: Sequence[str], rows: Sequence[Sequence[str]], body: int) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return "  ".join([cells[0].ljust(widths[0]), *numbers]).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [line(header), rule, *map(line, rows[:body])]
    if rows[body:]:
        lines += [rule, *map(line, rows[body:])]
    return "\n".join(lines)
