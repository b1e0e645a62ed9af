"""A page as data, and what it becomes: one HTML file that opens anywhere, or markdown."""

import base64
import io
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jinja2
from markupsafe import Markup
from PIL import Image

from zsas_jax.files import atomic_path
from zsas_jax.report.tables import Table


class Picture(NamedTuple):
    """A JPEG with its caption: a file of a run, or made for the page."""

    caption: str
    source: pathlib.Path | bytes
    size: tuple[int, int]

    @property
    def uri(self) -> str:
        """The picture as part of a page."""
        data = self.source if isinstance(self.source, bytes) else self.source.read_bytes()
        return "data:image/jpeg;base64," + base64.b64encode(data).decode()


class Strip(NamedTuple):
    """Pictures of one photo, side by side."""

    name: str
    facts: str
    pictures: Sequence[Picture]
    tag: str = ""


class Charts(NamedTuple):
    """SVG charts under a heading."""

    title: str
    charts: Sequence[str]


class Section(NamedTuple):
    """A heading and what is below it; most sections have one kind of content."""

    title: str
    level: int = 3
    anchor: str = ""
    link: str = ""
    """What the navigation calls it; empty: it is not listed."""
    text: Sequence[str] = ()
    table: Table | None = None
    charts: Sequence[Charts] = ()
    strips: Sequence[Strip] = ()
    legend: frozenset[str] = frozenset()
    """Kinds of panels whose colours are explained."""
    code: str = ""


class Page(NamedTuple):
    """Everything that is shown."""

    title: str
    text: Sequence[str]
    sections: Sequence[Section]
    warnings: Sequence[str] = ()


def file_picture(caption: str, path: pathlib.Path) -> Picture | None:
    """A picture on disk; None where it is missing or damaged."""
    try:
        with Image.open(path) as picture:
            return Picture(caption, path, picture.size)
    except OSError:
        return None


def drawn_picture(caption: str, picture: Image.Image) -> Picture:
    """A picture that no file holds."""
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=85)
    return Picture(caption, file.getvalue(), picture.size)


def write_html(page: Page, path: pathlib.Path) -> None:
    """Writes the page; style, charts and pictures are part of it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zsas_jax.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["markup"] = Markup
    text = environment.get_template("template.html.j2").render(page=page)
    with atomic_path(path) as part:
        part.write_text(text, "utf-8")


def markdown(page: Page, directory: pathlib.Path | None = None) -> str:
    """The page without charts and settings; pictures are links relative to `directory`, or none."""
    parts = [f"# {page.title}", *page.text]
    parts += [f"> **Warning:** {text}" for text in page.warnings]
    for section in page.sections:
        below = list(section.text)
        if section.table:
            below.append(section.table.markdown())
        if directory is not None:
            below += [_strip(strip, directory) for strip in section.strips]
        if below or (section.level == 2 and not section.code):
            parts += [f"{'#' * section.level} {section.title}", *below]
    return "\n\n".join(parts) + "\n"


def _strip(strip: Strip, directory: pathlib.Path) -> str:
    links = []
    for picture in strip.pictures:
        if isinstance(picture.source, pathlib.Path):
            target = pathlib.Path(os.path.relpath(picture.source, directory)).as_posix()
            links.append(f"![{picture.caption}](<{target}>)")
    tag = f"**{strip.tag}**: " if strip.tag else ""
    return f"{tag}`{strip.name}`, {strip.facts}\n\n{' '.join(links)}"
