"""Reads HTML pages back."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "input"}
REFERRING = ("src", "href", "srcset", "action", "xlink:href", "data")


class Page(HTMLParser):
    """Texts by the tag they stand in, and every attribute. Raises ValueError where tags do not close in order."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.attributes: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.feed(markup)
        if self.open:
            raise ValueError(f"left open: {self.open}")

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.attributes += [(name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        if self.open.pop() != tag:
            raise ValueError(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data.strip())

    def values(self, name: str) -> list[str]:
        return [value for attribute, value in self.attributes if attribute == name]

    def references(self) -> list[str]:
        """What it would load from elsewhere."""
        return [value for name in REFERRING for value in self.values(name)]
