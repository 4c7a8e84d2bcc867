"""Tables of text: on a terminal, as Markdown, as CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from dimbench.escaping import csv_cell, markdown, markdown_paragraph, plain

_PIPED_WIDTH = 200  # characters, where no terminal says how wide it is


@dataclass(frozen=True)
class Cell:
    """A cell of an HTML table: `text` (escaped unless it is Markup), what it sorts by, its look (a class of page.css:
    good, bad, warn, soft, differs), and a hint for the pointer. Columns with numbers as keys stand to the right.
    """

    text: str
    key: float | str | None = None
    tone: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """Cells as they will be read. `notes` follow the table; in CSV there is no place for them."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = ()

    def show(self, form: str = "rich") -> None:
        """Print to stdout as "rich", "markdown" or "csv"."""
        {"rich": self._rich, "markdown": lambda: print(self.markdown()), "csv": self._csv}[form]()

    def right_aligned(self, column: int) -> bool:
        """Whether the column holds numbers."""
        return any(row[column].lstrip("+-")[:1].isdigit() for row in self.rows)

    def _rich(self) -> None:
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text  # of which no part is taken for markup

        title = Text(plain(self.title)) if self.title else None
        table = RichTable(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
        for index, name in enumerate(self.columns):
            table.add_column(
                Text(plain(name)), justify="right" if self.right_aligned(index) else "left", overflow="fold"
            )
        for row in self.rows:
            table.add_row(*(Text(plain(cell)) for cell in row))
        console().print(table)
        for note in self.notes:
            console().print(Text(plain(note)), style="dim")

    def markdown(self) -> str:
        """The table as GitHub reads it, with title and notes."""
        rules = ["---:" if self.right_aligned(index) else "---" for index in range(len(self.columns))]
        title = markdown(self.title)
        lines = [f"**{title}**\n"] if title else []
        escaped = [[markdown(cell) for cell in row] for row in (self.columns, *self.rows)]
        for cells in (escaped[0], rules, *escaped[1:]):
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join([*lines, *(f"\n{markdown_paragraph(note)}" for note in self.notes)])

    def _csv(self) -> None:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([csv_cell(cell) for cell in row] for row in (self.columns, *self.rows))


def console():  # type: ignore[no-untyped-def]  # rich.console.Console, imported late
    """A console on stdout that does not fold what is piped."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_PIPED_WIDTH)
