"""Tables for a paper: LaTeX with booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from dimbench.escaping import latex as escape
from dimbench.report.tables import Table


def latex(table: Table) -> str:
    r"""A table environment with a tabular in booktabs' style, notes below it; needs \usepackage{booktabs}."""
    columns = "".join("r" if table.right_aligned(index) else "l" for index in range(len(table.columns)))
    caption = [rf"\caption{{{escape(table.title)}}}"] if table.title else []
    lines = [r"\begin{table}", r"\centering", *caption, rf"\begin{{tabular}}{{{columns}}}"]
    lines += [r"\toprule", _row(table.columns), r"\midrule", *map(_row, table.rows), r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {escape(note)}" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"
