"""Hostile text in every format: what is read back is that text and nothing else."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dimbench import escaping
from dimbench.report import html, junit
from dimbench.report.findings import gather
from dimbench.report.latex import latex
from dimbench.report.tables import Table
from tests.console import dimbench, refused
from tests.report.records import bench

FEW = settings(derandomize=True, max_examples=25, deadline=None)
MANY = settings(max_examples=5000, deadline=None)

PIECES = [
    "<script>alert(1)</script>", "|", "\\", "`", "*", "_", "~~", "[x](http://a.b)", "![i](x)", "@name", "http://a.b",
    "www.a.b", "a@b.cd", "#12", "GH-12", "&lt;", "&", "\n", "\r", "\r\n", "\t", " ", "# ", "- ", "1. ", "=", "+", "-",
    "=cmd|' /C calc'!A0", "[bold]", "[/bold]", "[/]", ":smile:", "\x1b[31m", "\x00", "\x07", "\x85", "\x9b", "\u2028",
    "\u202e", "\ud800", "\udcff", "\ufffe", "$x$", "%", "{", "}", "^", "'", '"', ",", "é", "图", "1", "a",
]  # fmt: skip
hostile = st.lists(st.one_of(st.sampled_from(PIECES), st.characters()), max_size=8).map("".join)
tables = st.lists(st.tuples(hostile, hostile), min_size=1, max_size=3)


def printed(table: Table, form: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        table.show(form)
    text = out.getvalue()
    text.encode("utf-8")
    return text


def unseen(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"} | (
        set(text) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\ufffe\uffff")
    )


def is_markdown_of(rows: list[tuple[str, str]]) -> None:
    note, title = rows[0]
    text = printed(Table(("first", "second"), rows, title=title, notes=[note]), "markdown")
    assert not unseen(text)
    assert not re.search(r"@\w|#\d|gh-\d|://|www\.", text, re.IGNORECASE)
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    kinds = {token.type.removesuffix("_open").removesuffix("_close") for token in tokens}
    assert kinds <= {"table", "thead", "tbody", "tr", "th", "td", "paragraph", "inline"}
    assert [token.type for token in tokens].count("td_open") == 2 * len(rows)
    inline = {child.type for token in tokens for child in token.children or []}
    assert inline <= {"text", "text_special", "strong_open", "strong_close"}
    cells = ["".join(c.content for c in t.children or []) for t in tokens if t.type == "inline"]
    shown = [cell.replace("\u200b", "") for cell in cells]
    for value in (value for row in rows for value in row):
        assert " ".join(escaping.plain(value).split()).replace("\u200b", "") in [*shown, ""]


def is_csv_of(rows: list[tuple[str, str]]) -> None:
    text = printed(Table(("first", "second"), rows), "csv")
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert [len(row) for row in found] == [2] * (1 + len(rows))
    for cell, value in zip(found[1] + found[-1], [*rows[0], *rows[-1]], strict=True):
        assert not re.match(r"\s*[=@]", cell)
        assert cell.removeprefix("'") == escaping.plain(value).removeprefix("'")


def is_shown_on_a_terminal(rows: list[tuple[str, str]]) -> None:
    text = printed(Table(("first", "second"), rows, title=rows[0][0], notes=[rows[0][1]]), "rich")
    assert not unseen(text)


class Cells(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.data: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.data.append(data)


def is_a_page_of(rows: list[tuple[str, str]]) -> None:
    section = html.Section(rows[0][0], html.table(("first", "second"), rows) + html.paragraphs([rows[0][1]]))
    text = html.page(rows[0][0], [section])
    text.encode("utf-8")
    assert not unseen(text)
    assert Cells(text).tags.count("script") == 1  # the page's own
    assert Cells(text).tags.count("td") == 2 * len(rows)


def is_xml_of(text: str) -> None:
    case = ElementTree.fromstring(junit.render(gather([bench(text)]))).find(".//testcase")
    assert case is not None
    assert case.get("classname", "").split() == escaping.plain(text).split()


def is_latex_of(rows: list[tuple[str, str]]) -> None:
    text = latex(Table(("first", "second"), rows))
    assert not unseen(text)
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    assert len(body) == len(rows)
    for line in body:
        rest = re.sub(r"\\text\w+\{\}|\\[&%$#_{}]", "", line.removesuffix(r" \\"))
        assert rest.count("&") == 1  # between the two cells
        assert not set(rest) & set("\\%$#_{}~^")


EVERY = [is_markdown_of, is_csv_of, is_shown_on_a_terminal, is_a_page_of, is_latex_of]


@FEW
@given(tables)
def test_hostile_text_stays_text_in_every_format(rows: list[tuple[str, str]]) -> None:
    for holds in EVERY:
        holds(rows)
    is_xml_of(rows[0][0])


@pytest.mark.slow
@MANY
@given(tables)
def test_much_hostile_text_stays_text_in_every_format(rows: list[tuple[str, str]]) -> None:
    for holds in EVERY:
        holds(rows)
    is_xml_of(rows[0][0])


@pytest.mark.parametrize("piece", PIECES)
def test_each_piece_stays_text_in_every_format(piece: str) -> None:
    for text in (piece, f"{piece}x", f"x{piece}", f"{piece}1", f"{piece} {piece}"):
        for holds in EVERY:
            holds([(text, "other")])
            holds([("other", text)])
        is_xml_of(text)


def test_signed_figures_are_no_formulas() -> None:
    ours = [
        "+12.3 %",
        "-2.0 % to +10.0 %",
        "+10.3 to +14.3 %",
        "-0.5",
        "+1e-05",
        "-",
        "-3,000",
        "+3.2 ms",
        "1.5 images/s",
    ]
    assert [escaping.csv_cell(text) for text in ours] == ours
    assert escaping.csv_cell("-1+2") == "'-1+2"
    assert escaping.csv_cell(" =1") == "' =1"


def test_names_of_files_are_shown_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("run[/1]", "run[bold]"):
        drawn = dimbench("sample", "dit-digits", "--steps", 2, "--num-images", 4, "--out", name)
        assert drawn.code == 0, drawn.stderr
        assert f"{name}/samples.npz" in drawn.stdout
        assert f" in {name}/samples.npz" in dimbench("fid", "--images", name).stderr
    assert "\x1b" not in refused(2, "fid", "--images", "\x1b[31mnowhere\udcff")
