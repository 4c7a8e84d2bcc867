"""Text of others, such as names, paths and warnings, made harmless for each format that we write."""

from __future__ import annotations

import html
import re

# What moves a terminal's cursor, turns the direction of what follows or cannot be encoded; line feeds and tabs stay.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff]"
)
_MARKS = re.compile(r"[\\`*~|$\[\]]|(?<!\w)_|_(?!\w)")
_LIVE = re.compile(r"@(?=\w)|#(?=\d)|gh-(?=\d)|:(?=//)|www(?=\.)|(?:mailto|xmpp):", re.IGNORECASE)
_BLOCK = re.compile(r"^(\d*)(?=[#+\-=.)])")  # what begins a heading, a list or a rule
_APART = "\u200b"  # a space of no width, which ends a name or an address before it begins
_FIGURE = re.compile(r"[+-](\d[\d.,]*(e[+-]?\d+)?( %)?( to [+-]?\d[\d.,]*( %)?)?( [^\W\d]{1,3}(/[^\W\d]+)?)?)?")
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "†": r"\textdagger{}", "µ": r"\textmu{}",
}  # fmt: skip


def plain(text: str) -> str:
    """The text for a terminal, a page or XML: what cannot be seen or encoded becomes the replacement character."""
    return _UNSEEN.sub("\ufffd", text.replace("\r\n", "\n"))


def markdown(text: str) -> str:
    """One line that GitHub shows as it is: no markup, no cell of its own, no link, and nobody is called by name."""
    return _LIVE.sub(rf"\g<0>{_APART}", _MARKS.sub(r"\\\g<0>", html.escape(_line(text), quote=False)))


def markdown_paragraph(text: str) -> str:
    """As `markdown`, where it begins a line: it becomes no heading, list or rule."""
    return _BLOCK.sub(r"\1\\", markdown(text))


def csv_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula; figures with a sign stay as they are."""
    is_formula = text.lstrip()[:1] in ("=", "@", "+", "-") and not _FIGURE.fullmatch(text)
    return f"'{plain(text)}" if is_formula else plain(text)


def latex(text: str) -> str:
    """One line as LaTeX prints it."""
    return re.sub("|".join(map(re.escape, _LATEX)), lambda found: _LATEX[found[0]], _line(text))


def _line(text: str) -> str:
    return " ".join(plain(text).split())
