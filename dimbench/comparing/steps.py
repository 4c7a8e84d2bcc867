"""Where a series of figures comes to another level: the levels with the least distance from all figures, each further
one paid for, so that neither a single outlier nor noise makes a step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

MOST = 150  # figures, the latest; the search takes the square of their number
_NOISE = 4  # times the usual distance of neighbours, which a step has to exceed
_WORTH = 2  # figures that a level has at least, for one may be an outlier


@dataclass(frozen=True)
class Level:
    """The figures from `first` up to `last`, and their median."""

    first: int
    last: int
    value: float


def levels(values: Sequence[float], margin: float) -> list[Level]:
    """The levels in order, of two figures at least; neighbours differ by more than the share `margin`. With a margin
    of 0 each change is one."""
    if not margin or len(values) < _WORTH:
        firsts = [k for k in range(len(values)) if not k or values[k] != values[k - 1]]
        return [Level(k, end - 1, values[k]) for k, end in zip(firsts, [*firsts[1:], len(values)], strict=True)]
    jumps = [abs(after - before) for before, after in itertools.pairwise(values)]
    noise = median(jumps) if jumps else 0.0
    price = _WORTH * max(margin * abs(median(values)), _NOISE * noise)
    best: list[tuple[float, int]] = [(0.0, 0), (math.inf, 0)]
    for end in range(_WORTH, len(values) + 1):
        starts = range(end - _WORTH + 1)
        best.append(min((best[first][0] + _distance(values[first:end]) + price, first) for first in starts))
    found: list[Level] = []
    end = len(values)
    while end:
        first = best[end][1]
        found.insert(0, Level(first, end - 1, median(values[first:end])))
        end = first
    return _joined(found, values, margin)


def _distance(values: Sequence[float]) -> float:
    middle = median(values)
    return sum(abs(value - middle) for value in values)


def _joined(found: Sequence[Level], values: Sequence[float], margin: float) -> list[Level]:
    """Neighbours that differ by no more than the margin are one."""
    kept: list[Level] = []
    for level in found:
        if kept and abs(level.value - kept[-1].value) <= margin * abs(kept[-1].value):
            first = kept.pop().first
            level = Level(first, level.last, median(values[first : level.last + 1]))
        kept.append(level)
    return kept
