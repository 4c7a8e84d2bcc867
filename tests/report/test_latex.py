from __future__ import annotations

from dimbench.escaping import latex as escape
from dimbench.report.latex import latex
from dimbench.report.tables import Table


def test_a_table_of_latex() -> None:
    table = Table(("model", "GFLOPs"), [("DiT_S & co", "6.06"), ("half, 50 %", "1.4")], "A {title}", ["One note."])
    lines = latex(table).splitlines()
    assert r"\begin{tabular}{lr}" in lines
    assert r"DiT\_S \& co & 6.06 \\" in lines
    assert r"half, 50 \% & 1.4 \\" in lines
    assert r"\caption{A \{title\}}" in lines
    assert [line for line in lines if line.startswith((r"\begin", r"\end"))] == [
        r"\begin{table}", r"\begin{tabular}{lr}", r"\end{tabular}", r"\end{table}",
    ]  # fmt: skip


def test_special_letters_are_escaped_once() -> None:
    assert escape(r"a\b_c~^$#†") == r"a\textbackslash{}b\_c\textasciitilde{}\textasciicircum{}\$\#\textdagger{}"
