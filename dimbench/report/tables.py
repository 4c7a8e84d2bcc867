"""Tables of text: on a terminal, as Markdown, CSV or LaTeX."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from dimbench.escaping import csv_cell, markdown, markdown_paragraph, plain
from dimbench.report import fitting

_wide: ContextVar[bool] = ContextVar("wide", default=False)


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
    """Cells as they will be read. `notes` follow the table; in CSV there is no place for them. `first_out` are the
    columns that a narrow screen leaves out, in this order; then it leaves out others from the right. `best` says of
    columns where one number is the better whether that is the "least" or the "most"; LaTeX sets it in bold. `entries`
    are the rows for programs, numbers in SI units, which CSV holds in place of the cells where they are given."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = ()
    first_out: Sequence[str] = ()
    best: Mapping[str, str] = field(default_factory=dict)
    entries: Sequence[Mapping[str, str | float | None]] = ()

    def show(self, form: str = "rich") -> None:
        """Print to stdout as "rich", "markdown", "csv" or "latex"."""
        forms = {"rich": self._rich, "markdown": lambda: print(self.markdown()), "csv": self._csv, "latex": self._latex}
        forms[form]()

    def right_aligned(self, column: int) -> bool:
        """Whether the column holds numbers."""
        return any(row[column].lstrip("+-")[:1].isdigit() for row in self.rows)

    def drawn(self, width: int | None = None) -> fitting.OnScreen:
        """As it stands on a screen of so many characters; None: whole."""
        columns, *rows = ([plain(cell) for cell in row] for row in (self.columns, *self.rows))
        numbers = [self.right_aligned(index) for index in range(len(columns))]
        return fitting.draw(columns, rows, numbers, [plain(name) for name in self.first_out], width)

    def _rich(self) -> None:
        drawn = self.drawn(screen_width())
        title = [plain(self.title)] if self.title else []
        notes = [plain(note) for note in (*self.notes, drawn.says) if note]
        if not sys.stdout.isatty():
            print("\n".join([*title, *drawn.lines, *notes]))
            return
        from rich.console import Console
        from rich.text import Text  # of which no part is taken for markup

        screen = Console()
        head, body = drawn.lines[: drawn.heading], drawn.lines[drawn.heading :]
        for lines, style in ((title, "italic"), (head, "bold"), (body, "")):
            if lines:
                screen.print(Text("\n".join(lines), style), soft_wrap=True)
        width = shutil.get_terminal_size().columns
        for note in notes:
            screen.print(Text("\n".join(fitting.wrapped(note, width)), "dim"), soft_wrap=True)

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
        rows: list[Sequence[str | float | None]] = [self.columns, *self.rows]
        if self.entries:
            rows = [list(self.entries[0]), *(list(entry.values()) for entry in self.entries)]
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([csv_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)


def screen_width() -> int | None:
    """Characters in a line of the terminal on stdout ($COLUMNS where it is set); None in a pipe and with --wide, where
    tables are whole."""
    return None if _wide.get() or not sys.stdout.isatty() else shutil.get_terminal_size().columns


@contextmanager
def wide() -> Iterator[None]:
    """Inside, tables are whole, however narrow the screen."""
    before = _wide.set(True)
    try:
        yield
    finally:
        _wide.reset(before)
