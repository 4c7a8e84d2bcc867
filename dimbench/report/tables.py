"""Tables of text: on a terminal, as Markdown, CSV or LaTeX."""

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
        """Print to stdout as "rich", "markdown", "csv" or "latex"."""
        forms = {"rich": self._rich, "markdown": lambda: print(self.markdown()), "csv": self._csv, "latex": self._latex}
        forms[form]()

    def right_aligned(self, column: int) -> bool:
        """Whether the column holds numbers."""
        return any(row[column].lstrip("+-")[:1].isdigit() for row in self.rows)

    def _rich(self) -> None:
        from rich.text import Text  # of which no part is taken for markup

        screen = console()
        if (lines := self._lines()) and not self.title and len(lines[0]) <= screen.width:
            text = Text("\n".join(lines), no_wrap=True)
            text.stylize("bold", len(lines[0]), len(lines[0]) + 1 + len(lines[1]))
            screen.print(text, crop=False)
        else:
            self._folded()
        for note in self.notes:
            screen.print(Text(plain(note)), style="dim")

    def _lines(self) -> list[str]:
        """The table as `_folded` draws it where it is wide enough, which takes much longer; [] where letters are not
        all of one width."""
        cells = [[plain(cell) for cell in row] for row in (self.columns, *self.rows)]
        if not all(cell.isascii() and "\n" not in cell for row in cells for cell in row):
            return []
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        to_the = [str.rjust if self.right_aligned(index) else str.ljust for index in range(len(widths))]
        lines = [
            f" {'   '.join(put(cell, width) for put, cell, width in zip(to_the, row, widths, strict=True))} "
            for row in cells
        ]
        blank = " " * len(lines[0])
        return [blank, lines[0], f" {'─' * (len(blank) - 2)} ", *lines[1:], blank]

    def _folded(self) -> None:
        """On any screen: cells are folded where it is narrow."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        title = Text(plain(self.title)) if self.title else None
        table = RichTable(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
        for index, name in enumerate(self.columns):
            table.add_column(
                Text(plain(name)), justify="right" if self.right_aligned(index) else "left", overflow="fold"
            )
        for row in self.rows:
            table.add_row(*(Text(plain(cell)) for cell in row))
        console().print(table)

    def markdown(self) -> str:
        """The table as GitHub reads it, with title and notes."""
        rules = ["---:" if self.right_aligned(index) else "---" for index in range(len(self.columns))]
        title = markdown(self.title)
        lines = [f"**{title}**\n"] if title else []
        escaped = [[markdown(cell) for cell in row] for row in (self.columns, *self.rows)]
        for cells in (escaped[0], rules, *escaped[1:]):
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join([*lines, *(f"\n{markdown_paragraph(note)}" for note in self.notes)])

    def _latex(self) -> None:
        from dimbench.report.latex import latex

        print(latex(self))

    def _csv(self) -> None:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([csv_cell(cell) for cell in row] for row in (self.columns, *self.rows))


def console():  # type: ignore[no-untyped-def]  # rich.console.Console, imported late
    """A console on stdout that does not fold what is piped."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=_PIPED_WIDTH)
