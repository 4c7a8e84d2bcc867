from __future__ import annotations

import json
import re

from dimbench import units
from dimbench.report import html
from dimbench.report.html import Section
from dimbench.report.tables import Cell
from tests.report.pages import Page

SCRIPT = "<script>alert(1)</script>"


def test_a_page_is_one_file_and_holds_what_it_was_given() -> None:
    rows = [[SCRIPT, Cell("1.2 s", 1.2, "bad", hint='of "3" & 4'), "same"]]
    sections = [Section("Rows", html.table(["model", "time", "verdict"], rows)), Section("More", "<b>", folded=True)]
    text = html.page(f"Title {SCRIPT}", sections, lead=SCRIPT, tone="warn", data={"model": SCRIPT})
    page = Page(text)
    assert page.texts["title"] == page.texts["h1"] == [f"Title {SCRIPT}"]
    assert page.texts["h2"] == ["Rows"]
    assert page.texts["summary"] == ["More"]
    assert page.texts["details"] == ["<b>"]
    assert [*page.texts["div"], *page.texts["td"]] == [SCRIPT, "1.2 s", "same"]
    assert page.values("data-key") == ["1.2"]
    assert page.values("title") == ['of "3" & 4']
    assert json.loads(page.texts["script"][0]) == {"model": SCRIPT}
    assert page.tags.count("script") == 2
    assert SCRIPT not in text


def test_a_page_loads_nothing() -> None:
    text = html.page("Title", [Section("Rows", html.table(["model"], [["a"]], filtered=True))], data=[])
    assert Page(text).references() == []
    assert not re.search(r"url\(|@import|https?:|fetch\(|XMLHttpRequest", text)


def test_a_page_without_data_has_nothing_to_save() -> None:
    page = Page(html.page("Title", []))
    assert page.tags.count("script") == 1
    assert "button" not in page.tags


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    table = html.table(["model", "seconds"], [["a", Cell("not measured")], ["b", Cell("2 s", 2)]])
    assert re.findall(r"<td(.*?)>(.*?)</td>", table) == [
        ("", "a"), (' class="number"', "not measured"), ("", "b"), (' class="number" data-key="2"', "2 s"),
    ]  # fmt: skip


def test_figures_sort_by_their_numbers() -> None:
    rows = [("a", units.short(6.06e9), units.between(1.5, 2, str)), ("b", units.short(3.58e8), "-")]
    text = html.table(("model", "MACs", "interval"), rows)
    assert re.findall(r'data-key="([^"]+)"', text) == ["6060000000.0", "1.5", "358000000.0"]
