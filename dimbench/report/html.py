"""One self-contained HTML page: the frame, the style and the sortable tables that all our pages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dimbench import __version__
from dimbench.escaping import plain
from dimbench.report.tables import Cell, Table
from dimbench.units import Amount


@dataclass(frozen=True)
class Section:
    """A titled part of a page. `body` is Markup made by the functions here; a plain str is escaped."""

    title: str
    body: str
    folded: bool = False


def page(title: str, sections: Iterable[Section], lead: str = "", tone: str = "", data: object = None) -> str:
    """The whole page. `lead` is the answer in a sentence, in the colour `tone`; `data` goes along as JSON to save.

    Nothing in it refers to another file or host.
    """
    values = {"title": title, "sections": list(sections), "lead": lead, "tone": tone, "data": data}
    return plain(_templates().get_template("page.html").render(values, version=__version__))


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Cell]], filtered: bool = False) -> Markup:
    """A table that sorts by a click on a heading; `filtered` puts a field above it that hides rows without a text."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell, _key(cell)) for cell in row] for row in rows]
    numeric = [any(isinstance(row[column].key, float | int) for row in cells) for column in range(len(columns))]
    template = _templates().get_template("table.html")
    return Markup(template.render(columns=columns, rows=cells, numeric=numeric, filtered=filtered))


def _key(text: str) -> float | None:
    """What a figure sorts by."""
    if not isinstance(text, Amount):
        return None
    return text.ends[0] if text.number is None and text.ends else text.number


def page_of(tables: Iterable[Table]) -> str:
    """A page of tables of text, each with its notes."""
    found = list(tables)
    title = next((each.title for each in found if each.title), "dimbench")
    sections = [Section("", table(each.columns, each.rows) + paragraphs(each.notes)) for each in found]
    return page(title, sections)


def paragraphs(lines: Iterable[str]) -> Markup:
    """One paragraph a line."""
    return Markup("").join(Markup("<p>{}</p>").format(line) for line in lines)


def fragment(template: str, **values: object) -> Markup:
    """The template of this folder with the values in it, for the body of a section."""
    return Markup(_templates().get_template(template).render(values))


@cache
def _templates() -> Environment:
    folder = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
