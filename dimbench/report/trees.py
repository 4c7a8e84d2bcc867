"""Numbers by module, as an indented tree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from dimbench import units

Row = tuple[str, str, int, str]
_Entry = tuple[tuple[str, ...], str, int]
_Node = tuple[int, str, int, int]


def tree(title: str, entries: Sequence[tuple[str, str, int]]) -> list[Row]:
    """(indented name, how many times, number of all, share) per node, from (module path, what, number) entries.

    Repeated blocks of equal numbers stand in one row, with all of them added; what a module has itself beside its
    children stands in brackets below it.
    """
    total = sum(number for *_, number in entries)
    below = _nodes([(tuple(path.split(".")) if path else (), what, number) for path, what, number in entries], 1)
    return [
        ("  " * depth + name, f"{times} x" if times > 1 else "", number, units.share(number, total))
        for depth, name, times, number in [(0, title, 1, total), *below]
    ]


def _nodes(entries: Sequence[_Entry], depth: int) -> list[_Node]:
    """(depth, name, times, number of all) of every node below, depth first."""
    children: dict[str, list[_Entry]] = {}
    for path, what, number in entries:
        name, rest = (path[0], path[1:]) if path else (f"({what})", ())
        children.setdefault(name, []).append((rest, what, number))
    branches = []
    for name, inside in children.items():
        leaf = not any(rest for rest, *_ in inside)
        branches.append((name, sum(number for *_, number in inside), [] if leaf else _nodes(inside, depth + 1)))
    nodes: list[_Node] = []
    for _, alike in groupby(branches, key=lambda branch: (branch[0].isdigit() or branch[0], branch[1:])):
        group = list(alike)
        (first, number, below), times = group[0], len(group)
        nodes.append((depth, first if times == 1 else f"{first}..{group[-1][0]}", times, times * number))
        nodes += [(level, name, many, times * part) for level, name, many, part in below]
    return nodes
