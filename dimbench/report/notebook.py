"""What a notebook shows of results: records as tables, plots as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from dimbench.report.tables import Table
from dimbench.results import Record


class Records(list[Record]):
    """Records in a list, which a notebook shows as tables."""

    def _repr_html_(self) -> str:
        if not self:
            return "no records"
        from dimbench.report import findings, grids  # every verb returns Records, and few are shown

        found = findings.gather(record.as_dict() for record in self)
        return Markup("").join(of_table(table) for table in grids.tables(found))


@dataclass(frozen=True)
class Picture:
    """A plot as SVG, which a notebook shows."""

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, file: Path | str) -> None:
        """Write it as an .svg file."""
        Path(file).write_text(self.svg, encoding="utf-8")


def of_table(table: Table) -> Markup:
    """A table of text as HTML, with its notes."""
    return _table(table.columns, table.rows, table.notes)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str]) -> Markup:
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in columns)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(cell) for cell in row))
        for row in rows
    )
    whole = Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, body)
    return whole + _paragraphs(notes)


def _paragraphs(lines: Iterable[str]) -> Markup:
    return Markup("").join(Markup("<p><small>{}</small></p>").format(line) for line in lines)
