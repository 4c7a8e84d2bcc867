"""Tables for a paper: LaTeX with booktabs."""

from __future__ import annotations

from collections.abc import Iterable

from dimbench import units
from dimbench.escaping import latex as escape
from dimbench.report.tables import Table

_PROSE = 40  # characters from which on a cell is wrapped
_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def latex(table: Table) -> str:
    r"""A table environment with a tabular in booktabs' style, notes below it; needs \usepackage{booktabs,graphicx}.

    Prose is wrapped, and what is wider than the page made smaller. The best figure of a column is bold, and so is each
    whose interval reaches to that of the best.
    """
    columns = "".join(_kind(table, index) for index in range(len(table.columns)))
    caption = [rf"\caption{{{escape(table.title)}}}"] if table.title else []
    bold = {(row, index) for index in range(len(table.columns)) for row in _best(table, index)}
    rows = [
        [rf"\textbf{{{escape(cell)}}}" if (row, index) in bold else escape(cell) for index, cell in enumerate(cells)]
        for row, cells in enumerate(table.grouped())
    ]
    lines = [r"% \usepackage{booktabs,graphicx}", r"\begin{table}", r"\centering", *caption, _FIT]
    lines.append(rf"\begin{{tabular}}{{{columns}}}")
    lines += [r"\toprule", _row(map(escape, table.columns)), r"\midrule", *map(_row, rows), r"\bottomrule"]
    lines += [r"\end{tabular}}", *([r"\par\smallskip"] if table.notes else [])]
    lines += [rf"\par\footnotesize {escape(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"])


def _kind(table: Table, index: int) -> str:
    if max((len(row[index]) for row in table.rows), default=0) > _PROSE:
        return "p{15em}"
    return "r" if table.right_aligned(index) else "l"


def _best(table: Table, index: int) -> list[int]:
    """The rows with the best figure of a column; none where no two have any."""
    which = table.best.get(table.columns[index])
    known = {row: found for row, cells in enumerate(table.rows) if (found := units.bounds(cells[index]))}
    if which is None or len(known) < 2:
        return []
    sign = 1 if which == "least" else -1
    ends = {row: sorted((sign * low, sign * high)) for row, (low, high) in known.items()}
    reach = min(ends.values(), key=sum)[1]
    return [row for row, (nearer, _) in ends.items() if nearer <= reach]


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
