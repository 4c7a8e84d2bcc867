"""A table drawn on a screen of a given width: words are wrapped, counts written with units, columns left out. No number
is ever cut or wrapped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dimbench import units

_APART = "   "  # between columns
_PROSE = 20  # characters that a column of text keeps, and a word is broken after on a screen that is too narrow
_COUNT = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3}){2,}(?![\d.,])")  # from a million on
_FIGURE = re.compile(r"(?<=\d) (?=[%\w]{1,3}(?:/\w+)?(?:\W|$))")  # the space between a number and its unit
_NUMBER = re.compile(r"[+-]?[\d.,]+( \S{1,5})?")
_GLUE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class OnScreen:
    """The lines of a table, of which the first `heading` are its head; the columns that are `left_out`, and whether
    counts are written with units in place of all their digits."""

    lines: Sequence[str]
    heading: int
    left_out: Sequence[str]
    rounded: bool

    @property
    def says(self) -> str:
        """What is not shown, and how to see it; "" where all is."""
        many = len(self.left_out)
        said = [f"{many} column{'s' * (many > 1)} left out ({', '.join(self.left_out)})"] if many else []
        said += ["counts rounded"] if self.rounded else []
        text = " and ".join(said)
        return f"{text[:1].upper()}{text[1:]}; --wide shows all." if said else ""


def draw(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[bool],
    first_out: Sequence[str] = (),
    width: int | None = None,
) -> OnScreen:
    """The table in at most `width` characters, None for as many as it takes.

    `numbers` says which columns stand to the right. Columns are left out as `first_out` names them, then from the
    right; the first stays.
    """
    kept = list(range(len(columns)))
    whole = [_widest(columns, rows, index) for index in kept]
    if width is None or _total(whole) <= width:
        return _drawn(columns, rows, numbers, kept, whole, rounded=False)
    short = [
        [_COUNT.sub(lambda count: units.short(int(count[0].replace(",", ""))), cell) for cell in row] for row in rows
    ]
    rounded = [list(row) for row in rows] != short
    whole = [_widest(columns, short, index) for index in kept]
    least = [_least(columns, short, index, numbers[index]) for index in kept]
    out: list[int] = []
    for index in _order(columns, first_out):
        if _total([least[each] for each in kept]) <= width:
            break
        kept.remove(index)
        out.append(index)
    for index in reversed(out):  # what has room after all
        if _total([least[each] for each in (*kept, index)]) <= width:
            kept = sorted([*kept, index])
    widths = _spread([least[each] for each in kept], [whole[each] for each in kept], width)
    return _drawn(columns, short, numbers, kept, widths, rounded and any(_changed(rows, short, each) for each in kept))


def _changed(rows: Sequence[Sequence[str]], short: Sequence[Sequence[str]], index: int) -> bool:
    return any(row[index] != other[index] for row, other in zip(rows, short, strict=True))


def _order(columns: Sequence[str], first_out: Sequence[str]) -> list[int]:
    named = [columns.index(name) for name in first_out if name in columns]
    return named + [index for index in range(len(columns) - 1, 0, -1) if index not in named]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_APART) * (len(widths) - 1) + 2


def _widest(columns: Sequence[str], rows: Sequence[Sequence[str]], index: int) -> int:
    return max(_length(line) for row in (columns, *rows) for line in row[index].split("\n"))


def _least(columns: Sequence[str], rows: Sequence[Sequence[str]], index: int, is_number: bool) -> int:
    """What a column needs: its numbers and, in the first, its names as they are, of text some words."""
    heading = max((_length(word) for word in columns[index].split()), default=0)
    widest = max((_length(row[index]) for row in rows), default=0)
    if is_number or index == 0:
        return max(heading, widest)
    word = max((_length(word) for row in rows for word in _words(row[index])), default=0)
    return max(heading, min(widest, max(_PROSE, min(word, 2 * _PROSE))))


def _spread(least: Sequence[int], whole: Sequence[int], width: int) -> list[int]:
    """The widths of the columns, what is left over given to those that lack most."""
    widths = list(least)
    spare = width - _total(widths)
    while spare > 0 and (lacking := max(range(len(widths)), key=lambda k: whole[k] - widths[k])) is not None:
        if whole[lacking] <= widths[lacking]:
            break
        widths[lacking] += 1
        spare -= 1
    for index in sorted(range(len(widths)), key=lambda k: -widths[k]):  # too narrow even so: words are broken
        if spare >= 0:
            break
        taken = min(-spare, max(0, widths[index] - _PROSE))
        widths[index] -= taken
        spare += taken
    return widths


def _drawn(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[bool],
    kept: Sequence[int],
    widths: Sequence[int],
    rounded: bool,
) -> OnScreen:
    put = [_right if numbers[index] else _left for index in kept]

    def laid(row: Sequence[str]) -> Iterator[str]:
        cells = [list(wrapped(row[index], width)) for index, width in zip(kept, widths, strict=True)]
        for k in range(max(map(len, cells))):
            texts = (cell[k] if k < len(cell) else "" for cell in cells)
            yield f" {_APART.join(to(text, width) for to, text, width in zip(put, texts, widths, strict=True))} "

    head = list(laid(columns))
    blank = " " * _total(widths)
    body = [line for row in rows for line in laid(row)]
    left_out = [name for index, name in enumerate(columns) if index not in kept]
    return OnScreen([blank, *head, f" {'─' * (len(blank) - 2)} ", *body, blank], 1 + len(head), left_out, rounded)


def wrapped(text: str, width: int) -> Iterator[str]:
    """The text in lines of at most `width`, broken between words; longer words but numbers are broken, too."""
    for paragraph in text.split("\n"):
        if _length(paragraph) <= width:
            yield paragraph
            continue
        line = paragraph[: len(paragraph) - len(paragraph.lstrip(" "))]
        for word in _words(paragraph):
            if line.strip() and _length(line) + 1 + _length(word) > width:
                yield line
                line = ""
            line = f"{line} {word}" if line.strip() else line + word
            while _length(line) > width and not _NUMBER.fullmatch(line):
                cut = next(k for k in range(len(line), 0, -1) if k == 1 or _length(line[:k]) <= width)
                cut = next((at for at in range(cut, cut // 2, -1) if line[at - 1] in "/-_,;="), cut)
                yield line[:cut]
                line = line[cut:]
        yield line


def _words(text: str) -> list[str]:
    """What stays together: words, and a number with its unit."""
    return [word.replace(_GLUE, " ") for word in _FIGURE.sub(_GLUE, text).split(" ") if word]


def _length(text: str) -> int:
    """Places that the text takes on a screen."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _left(text: str, width: int) -> str:
    return text + " " * (width - _length(text))


def _right(text: str, width: int) -> str:
    return " " * (width - _length(text)) + text
