"""Curves and histograms as inline SVG: no script, sharp in print, told apart without colour.

The colours are Okabe and Ito's; every line has a dash pattern of its own as well, and bars of good
and anomalous pictures are hatched and plain.
"""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#9c4f7f", "#a36a00", "#2b7aa8", "#000000")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "1 4", "5 2 1 2 1 2")
GOOD, ANOMALOUS = "#56b4e9", "#d55e00"
WIDTH, HEIGHT = 320, 250
LEFT, RIGHT, TOP, BOTTOM = 42, 10, 26, 40


class Series(NamedTuple):
    """One line; `steps` draws it as a staircase, as precision over recall is."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    steps: bool = False


class _Frame(NamedTuple):
    """Data ranges and where they lie in the picture."""

    x_limit: tuple[float, float]
    y_limit: tuple[float, float]
    counts: bool = False  # whole numbers upwards

    def x(self, value: float) -> float:
        low, high = self.x_limit
        return LEFT + (value - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_limit
        return HEIGHT - BOTTOM - (value - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)


def line_style(index: int) -> tuple[str, str]:
    """Colour and dash pattern of the index-th line."""
    return COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    x_limit: tuple[float, float] = (0.0, 1.0),
    y_limit: tuple[float, float] = (0.0, 1.0),
    diagonal: bool = False,
) -> str:
    """A chart of curves; `diagonal` marks what guessing would give."""
    frame = _Frame(x_limit, y_limit)
    parts = _axes(frame, x_label, y_label)
    if diagonal:
        parts.append(
            f'<line class="guess" x1="{frame.x(0.0):.1f}" y1="{frame.y(0.0):.1f}" '
            f'x2="{frame.x(1.0):.1f}" y2="{frame.y(1.0):.1f}"/>'
        )
    for index, line in enumerate(series):
        colour, dash = line_style(index)
        parts.append(
            f'<polyline class="curve" stroke="{colour}" stroke-dasharray="{dash}" '
            f'points="{_points(line, frame)}"><title>{escape(line.label)}</title></polyline>'
        )
    described = f"{title}: {', '.join(line.label for line in series)}"
    return _picture(title, described, parts)


def histogram_chart(
    title: str,
    edges: Sequence[float],
    good: Sequence[int],
    anomalous: Sequence[int],
    threshold: float | None = None,
) -> str:
    """Image scores of good and anomalous pictures, side by side in each bin, with the verdict's
    threshold.
    """
    if not len(good) or not (sum(good) or sum(anomalous)):
        return ""
    top = max(*good, *anomalous, 1)
    low, high = float(edges[0]), float(edges[-1])
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    margin = 0.02 * ((high - low) or 1)
    frame = _Frame((low - margin, high + margin), (0.0, float(top)), counts=True)
    parts = [
        '<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><rect width="5" height="5" fill="{GOOD}"/>'
        '<line x1="0" y1="0" x2="0" y2="5" stroke="#00507d" stroke-width="2"/></pattern></defs>'
    ]
    parts += _axes(frame, "image score", "pictures")
    for index, counts in enumerate(zip(good, anomalous, strict=True)):
        start, end = frame.x(edges[index]), frame.x(edges[index + 1])
        half = (end - start) / 2
        for side, (count, fill) in enumerate(zip(counts, ("url(#hatch)", ANOMALOUS), strict=True)):
            if count:
                y = frame.y(float(count))
                parts.append(
                    f'<rect x="{start + side * half:.1f}" y="{y:.1f}" '
                    f'width="{max(half - 0.4, 0.5):.1f}" height="{frame.y(0.0) - y:.1f}" '
                    f'fill="{fill}"/>'
                )
    if threshold is not None:
        x = frame.x(threshold)
        parts.append(
            f'<line class="threshold" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{frame.y(0.0):.1f}">'
            f"<title>verdict: anomalous from {threshold:.3f}</title></line>"
        )
    described = f"{title}: {sum(good)} good and {sum(anomalous)} anomalous pictures by image score"
    return _picture(title, described, parts)


def legend(labels: Sequence[str]) -> str:
    """The lines of `line_chart` with their names, as HTML."""
    if len(labels) < 2:
        return ""
    items = []
    for index, label in enumerate(labels):
        colour, dash = line_style(index)
        items.append(
            '<span class="key"><svg viewBox="0 0 40 8" width="40" height="8" aria-hidden="true">'
            f'<line x1="0" y1="4" x2="40" y2="4" stroke="{colour}" stroke-width="2.5" '
            f'stroke-dasharray="{dash}"/></svg> {escape(label)}</span>'
        )
    return f'<p class="legend">{"".join(items)}</p>'


def _points(line: Series, frame: _Frame) -> str:
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    if line.steps and len(x) > 1:  # Precision holds from the point before up to this one's recall.
        x, y = np.repeat(x, 2)[:-1], np.repeat(y, 2)[1:]
    return " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in zip(x, y, strict=True))


def _axes(frame: _Frame, x_label: str, y_label: str) -> list[str]:
    parts = []
    bottom = HEIGHT - BOTTOM
    for value in _ticks(*frame.x_limit):
        x = frame.x(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{_number(value)}</text>'
        )
    for value in _ticks(*frame.y_limit, whole=frame.counts):
        y = frame.y(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        )
        parts.append(
            f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>'
        )
    middle = (TOP + bottom) / 2
    parts += [
        f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 7}" '
        f'text-anchor="middle">{escape(x_label)}</text>',
        f'<text class="label" x="11" y="{middle:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 11 {middle:.0f})">{escape(y_label)}</text>',
    ]
    return parts


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Round values inside the range, about five."""
    span = high - low
    if span <= 0:
        return [low]
    step = 10 ** np.floor(np.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 5.01)
    step = max(step, 1.0) if whole else step
    first = np.ceil(low / step - 1e-9)
    return [float(k * step) for k in np.arange(first, np.floor(high / step + 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:.4g}" if value else "0"


def _picture(title: str, described: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(described)}"><text class="title" x="{LEFT}" y="16">{escape(title)}'
        f"</text>{''.join(parts)}</svg>"
    )
