"""Tables of text: on a terminal, as Markdown, CSV or LaTeX."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import pairwise

from dimbench.escaping import csv_cell, markdown, markdown_paragraph, plain
from dimbench.report import fitting
from dimbench.units import NOT_COUNTED, NOT_MEASURED, NOTHING, Amount

Plain = str | float | None
_NO_FIGURE = (
    "",
    NOTHING,
    NOT_COUNTED,
    NOT_MEASURED,
    "nothing",
    "none",
    "unknown",
    "size unknown",
    "not checkable",
    "not seen",
    "not printed",
)
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
    are the rows for programs, numbers in SI units, in place of those that the cells make. Of neighbours that are equal
    in all columns `said_once`, the first row alone has these, but in what is sorted or read by programs."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = ()
    first_out: Sequence[str] = ()
    best: Mapping[str, str] = field(default_factory=dict)
    entries: Sequence[Mapping[str, Plain]] = ()
    said_once: Sequence[str] = ()

    def show(self, form: str = "rich") -> None:
        """Print to stdout as "rich", "markdown", "csv" or "latex"."""
        forms = {"rich": self._rich, "markdown": lambda: print(self.markdown()), "csv": self._csv, "latex": self._latex}
        forms[form]()

    def right_aligned(self, column: int) -> bool:
        """Whether the column holds numbers."""
        return any(row[column].lstrip("+-")[:1].isdigit() for row in self.rows)

    def grouped(self) -> list[list[str]]:
        """The rows for a reader's eye, with what neighbours share said once."""
        shared = [self.columns.index(name) for name in self.said_once]
        found: list[list[str]] = []
        for above, row in pairwise([None, *self.rows]):
            same = bool(shared and above and row and all(above[index] == row[index] for index in shared))
            found.append(["" if same and index in shared else cell for index, cell in enumerate(row or ())])
        return found

    def drawn(self, width: int | None = None) -> fitting.OnScreen:
        """As it stands on a screen of so many characters; None: whole."""
        columns, *rows = ([plain(cell) for cell in row] for row in (self.columns, *self.grouped()))
        numbers = [self.right_aligned(index) for index in range(len(columns))]
        return fitting.draw(columns, rows, numbers, [plain(name) for name in self.first_out], width)

    def _rich(self) -> None:
        drawn = self.drawn(screen_width())
        title = plain(self.title)
        notes = [plain(note) for note in (*self.notes, drawn.says) if note]
        if not sys.stdout.isatty():
            print("\n".join([title] * bool(title) + [*drawn.lines, *notes]))
            return
        from rich.console import Console
        from rich.text import Text  # of which no part is taken for markup

        screen, width = Console(), shutil.get_terminal_size().columns
        head, body = drawn.lines[: drawn.heading], drawn.lines[drawn.heading :]
        above = list(fitting.wrapped(title, width)) if title else []
        for lines, style in ((above, "italic"), (head, "bold"), (body, "")):
            if lines:
                screen.print(Text("\n".join(lines), style), soft_wrap=True)
        for note in notes:
            screen.print(Text("\n".join(fitting.wrapped(note, width)), "dim"), soft_wrap=True)

    def markdown(self) -> str:
        """The table as GitHub reads it, with title and notes."""
        rules = ["---:" if self.right_aligned(index) else "---" for index in range(len(self.columns))]
        title = markdown(self.title)
        lines = [f"**{title}**\n"] if title else []
        escaped = [[markdown(cell) for cell in row] for row in (self.columns, *self.grouped())]
        for cells in (escaped[0], rules, *escaped[1:]):
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join([*lines, *(f"\n{markdown_paragraph(note)}" for note in self.notes)])

    def _latex(self) -> None:
        from dimbench.report.latex import latex

        print(latex(self))

    def for_programs(self) -> tuple[list[str], list[list[Plain]]]:
        """Columns and rows with plain numbers, their units in the headings, intervals in columns of their own and
        nothing where there is no figure."""
        if self.entries:
            return list(self.entries[0]), [list(entry.values()) for entry in self.entries]
        parts = [part for index in range(len(self.columns)) for part in self._parts(index)]
        rows = [[values[row] for _, values in parts] for row in range(len(self.rows))]
        return [name for name, _ in parts], rows

    def _parts(self, index: int) -> list[tuple[str, list[Plain]]]:
        """What a column is for programs: headings, each with the values below it."""
        name, cells = self.columns[index], [row[index] for row in self.rows]
        amounts = [cell for cell in cells if isinstance(cell, Amount)]
        if not amounts:
            return [(name, list(cells))]
        units_of = list(dict.fromkeys(amount.unit for amount in amounts))
        unit = f" ({units_of[0]})" if len(units_of) == 1 and units_of[0] not in ("", name) else ""
        parts: list[tuple[str, list[Plain]]] = []
        if len(amounts) < len(cells) or any(amount.number is not None for amount in amounts):
            values = [_number(cell) for cell in cells]
            parts += [(f"{name}{unit}", values)] if any(value is not None for value in values) else []
        if len(units_of) > 1:
            parts.append((f"{name}, unit", [cell.unit if isinstance(cell, Amount) else None for cell in cells]))
        if any(amount.ends for amount in amounts):
            ends = [cell.ends if isinstance(cell, Amount) else None for cell in cells]
            parts += [
                (f"{name}, {end}{unit}", [pair[side] if pair else None for pair in ends])
                for side, end in enumerate(("low", "high"))
            ]
        return parts

    def _csv(self) -> None:
        columns, rows = self.for_programs()
        writer = csv.writer(sys.stdout, lineterminator="\n")
        for row in [list[Plain](columns), *rows]:
            writer.writerow([csv_cell(cell) if isinstance(cell, str) else cell for cell in row])


def show(tables: Iterable[Table], form: str) -> None:
    """One after the other, as Table.show; an empty line parts those of CSV, which have other columns each."""
    for index, table in enumerate(tables):
        if index and form == "csv":
            print()
        table.show(form)


def _number(cell: str) -> Plain:
    """The number of an amount; other words stay, but for those that say there is no figure."""
    if isinstance(cell, Amount):
        return cell.number
    return None if cell in _NO_FIGURE else cell


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
