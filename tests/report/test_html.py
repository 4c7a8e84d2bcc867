from __future__ import annotations

import json
import re
from html.parser import HTMLParser

from dimbench.report import html
from dimbench.report.html import Cell, Section

SCRIPT = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """Text by tag, and every attribute, of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.text.setdefault(self.open[-1], []).append(data.strip())


def test_a_page_is_one_file_and_holds_what_it_was_given() -> None:
    rows = [[SCRIPT, Cell("1.2 s", 1.2, "bad", hint='of "3" & 4'), "same"]]
    sections = [Section("Rows", html.table(["model", "time", "verdict"], rows)), Section("More", "<b>", folded=True)]
    page = html.page(f"Title {SCRIPT}", sections, lead=SCRIPT, tone="warn", data={"model": SCRIPT})
    read = Reader(page)
    assert read.text["title"] == [f"Title {SCRIPT}"]
    assert read.text["h2"] == ["Rows"]
    assert read.text["summary"] == ["More"]
    assert read.text["td"] == [SCRIPT, "1.2 s", "same"]
    assert ("data-key", "1.2") in read.attributes
    assert ("title", 'of "3" & 4') in read.attributes
    assert json.loads(read.text["script"][0]) == {"model": SCRIPT}
    assert SCRIPT not in page
    assert len(re.findall("<script", page)) == 2
    assert not [name for name, _ in read.attributes if name in ("src", "href", "srcset", "action")]
    assert "url(" not in page
    assert "@import" not in page


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    table = html.table(["model", "seconds"], [["a", Cell("not measured")], ["b", Cell("2 s", 2)]])
    assert re.findall(r'<td(.*?)>(.*?)</td>', table) == [
        ("", "a"), (' class="number"', "not measured"), ("", "b"), (' class="number" data-key="2"', "2 s"),
    ]  # fmt: skip
