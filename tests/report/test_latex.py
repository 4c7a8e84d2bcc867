from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dimbench import units
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
        r"\begin{table}", r"\begin{tabular}{lr}", r"\end{tabular}}", r"\end{table}",
    ]  # fmt: skip


def test_special_letters_are_escaped_once() -> None:
    assert escape(r"a\b_c~^$#†") == r"a\textbackslash{}b\_c\textasciitilde{}\textasciicircum{}\$\#\textdagger{}"


MEASURED = Table(
    ("model", "time", "images/s", "FID"),
    [
        ("DiT_S & co", "86.45 ms ± 0.8 %", "11.57", "2.27"),
        ("U-DiT", "87.00 ms ± 0.9 %", "9.1", "none published"),
        ("DiM µ ~ ^ †", "1.2 s", "0.8", "2.31"),
    ],
    "What 50 % {cost}",
    ["Intervals: 95 %."],
    best={"time": "least", "images/s": "most", "FID": "least"},
)


def test_the_best_is_bold_and_what_intervals_do_not_tell_from_it() -> None:
    bold = [line.count("textbf") for line in latex(MEASURED).splitlines() if line.endswith(r"\\")]
    assert bold == [0, 3, 1, 0]


@pytest.mark.parametrize(
    ("text", "found"),
    [("2.00 ms ± 1.0 %", (0.00198, 0.00202)), ("6.06 G", (6.06e9,) * 2), ("1,021", (1021,) * 2),
     ("1.06 GB", (1.06e9,) * 2), ("71.3 %", (71.3,) * 2), ("not measured", None),
     ("220 ms" + units.of_samples(1), None)],
)  # fmt: skip
def test_what_a_figure_says_is_read_back(text: str, found: tuple[float, float] | None) -> None:
    assert units.bounds(text) == (found and pytest.approx(found))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no TeX here")
def test_tex_compiles_it(tmp_path: Path) -> None:
    page = [
        "\\documentclass{article}",
        "\\usepackage{booktabs,graphicx}",
        "\\begin{document}",
        latex(MEASURED),
        latex(Table([f"column {k}" for k in range(12)], [["12,345,678,901"] * 11 + ["so many words " * 9]])),
        "\\end{document}",
    ]
    (tmp_path / "page.tex").write_text("\n".join(page), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert "Overfull" not in ran.stdout
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
