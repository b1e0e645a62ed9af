"""Curves and histograms as SVG for a page: text stays text, and equal data give equal bytes.

The colours are Okabe and Ito's; every line has a dash pattern of its own as well, and bars of good
and anomalous pictures are hatched and plain, so that both are told apart without colour.
"""

import html
import io
import itertools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#9c4f7f", "#a36a00", "#2b7aa8", "#000000")
DASHES = ("-", "--", ":", "-.", (0, (8, 3)), (0, (1, 3)), (0, (4, 2, 1, 2, 1, 2)))
GOOD, ANOMALOUS = "#56b4e9", "#d55e00"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "zsas_jax",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e4e8ec",
    "hatch.color": "#00507d",
    "legend.fontsize": 9,
    "legend.framealpha": 0.85,
}
# Nothing that names a date, a version or an address.
_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


class Series(NamedTuple):
    """One line; `steps` draws it as a staircase, as precision over recall is."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    steps: bool = False


def line_chart(
    title: str,
    series: Sequence[Series],
    labels: tuple[str, str],
    *,
    x_limit: float = 1.0,
    diagonal: bool = False,
) -> str:
    """A chart of curves; `labels` are the axes', `diagonal` marks what guessing would give."""

    def draw(axes: Axes) -> None:
        if diagonal:
            axes.plot([0, 1], [0, 1], color="#9aa3ab", linestyle=":", linewidth=1)
        styles = itertools.cycle(zip(COLOURS, DASHES, strict=True))
        for line, (colour, dash) in zip(series, styles, strict=False):
            # Precision holds from the point before up to this one's recall.
            how = "steps-pre" if line.steps else "default"
            axes.plot(line.x, line.y, color=colour, linestyle=dash, drawstyle=how, label=line.label)
        axes.set(xlim=(0, x_limit), ylim=(0, 1.02), xlabel=labels[0], ylabel=labels[1])
        if len(series) > 1:
            axes.legend()

    return _svg(title, ", ".join(line.label for line in series), draw)


def histogram_chart(
    title: str,
    edges: Sequence[float],
    good: Sequence[int],
    anomalous: Sequence[int],
    threshold: float,
) -> str:
    """Image scores of good and anomalous pictures, side by side in each bin, with the verdict's
    threshold; empty where there are none.
    """
    if not sum(good) + sum(anomalous):
        return ""

    def draw(axes: Axes) -> None:
        left, half = np.asarray(edges[:-1]), np.diff(edges) / 2
        axes.bar(left, good, half, align="edge", color=GOOD, hatch="////", label="good")
        axes.bar(left + half, anomalous, half, align="edge", color=ANOMALOUS, label="anomalous")
        axes.axvline(threshold, color="black", linestyle="--", label="verdict's threshold")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(y=0.4)  # room for the legend
        axes.set(xlabel="image score", ylabel="pictures")
        axes.legend()

    described = f"{sum(good)} good and {sum(anomalous)} anomalous pictures by image score"
    return _svg(title, described, draw)


def _svg(title: str, described: str, draw: Any) -> str:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.2, 3.3), layout="tight")
        axes = figure.add_subplot()
        axes.set_title(title)
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=_METADATA)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # The page has many charts: names that only count, sizes and styles are the page's own.
    text = re.sub(r' id="\w+_\d+"', "", text)
    text = re.sub(r"<defs>\s*<style.*?</defs>", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box
    label = html.escape(f"{title}: {described}")
    start = f'<svg class="chart" role="img" aria-label="{label}" {box[0]}>'
    text = re.sub(r"<svg[^>]*>", lambda _: start, text, count=1)
    return re.sub(r"\s*\n\s*", " ", text).strip()
