"""Names as people type them: case and separators forgiven, and what was perhaps meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import TypeVar

from dimbench.errors import UsageError

T = TypeVar("T")

_NEAR = 0.5  # how alike a name must be to be offered


@cache
def folded(name: str) -> str:
    """The name without case and separators: DiT-XL/2 and dit_xl2 are one."""
    return "".join(letter for letter in name.lower() if letter.isalnum() or letter in "*?[]!")


def is_among(patterns: Sequence[str], *called: str) -> bool:
    """Whether one of the wildcards matches one of the names of something; where there is none, all is meant."""
    return not patterns or any(fnmatchcase(folded(name), folded(each)) for name in called for each in patterns)


def meant(name: str, known: Iterable[str], otherwise: str, most: int = 4) -> str:
    """ "did you mean ...?" with `most` of the known names that are like `name`, else `otherwise`."""
    names = {folded(each): each for each in known}
    near = difflib.get_close_matches(folded(name), names, n=most, cutoff=_NEAR)
    return f"did you mean {' or '.join(names[key] for key in near)}?" if near else otherwise


def find(name: str, known: Mapping[str, T], what: str, otherwise: str = "") -> T:
    """The entry called `name`; UsageError names `what` it is and what was perhaps meant, else what to do `otherwise`
    (left out: all the names)."""
    for each in known:
        if folded(each) == folded(name):
            return known[each]
    otherwise = otherwise or f"known are {', '.join(known)}"
    raise UsageError(f"unknown {what} {name!r}; {meant(name, known, otherwise)}")
