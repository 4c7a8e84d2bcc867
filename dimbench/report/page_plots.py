"""The plots of a report's page: curves and points with names at them, each with what it says to the pointer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from dimbench.report.svg import drawing, label, line, log_ticks, path, tag

_SIZE = (520, 300)
_LEFT, _TOP, _BOTTOM = 64, 24, 40
_NAMES = 128  # room for the names of curves beside them
_LETTER, _HIGH = 6.2, 12  # of a name, about
_MOST = 14  # curves and names that can still be told apart
_FEW = 8  # places along x that are named one by one
_COLOURS = 8  # of page.css: c0, c1, ...

Read = Callable[[float], str]


@dataclass(frozen=True)
class Axes:
    """What stands at the axes, which are logarithmic, and how their numbers read."""

    x: str
    y: str
    read_x: Read
    read_y: Read


@dataclass(frozen=True)
class Spot:
    """A point, its interval upwards, where it has one, and what it says; a `hollow` one is to be read with care."""

    x: float
    y: float
    says: str
    low: float | None = None
    high: float | None = None
    hollow: bool = False
    name: str = ""
    group: str = ""


def curves(named: Mapping[str, Sequence[Spot]], axes: Axes, groups: Sequence[str]) -> Markup:
    """Curves with their names at their ends; the colour is that of a curve's place in `groups`."""
    shown = dict(list(named.items())[:_MOST])
    plot = _Plot([spot for spots in shown.values() for spot in spots], axes, _SIZE[0] - _NAMES)
    parts = plot.frame()
    ends: list[tuple[float, float, str, str]] = []
    for name, spots in shown.items():
        ordered = sorted(spots, key=lambda spot: spot.x)
        colour = _colour(groups, ordered[0].group)
        parts.append(path([(plot.x(spot.x), plot.y(spot.y)) for spot in ordered], f"curve {colour}"))
        parts += [plot.spot(spot, colour) for spot in ordered]
        ends.append((plot.x(ordered[-1].x), plot.y(ordered[-1].y), name, colour))
    return drawing(*_SIZE, "plot", f"{axes.y} against {axes.x}", [*parts, *_beside(ends, plot.right)])


def points(spots: Sequence[Spot], axes: Axes, groups: Sequence[str], front: Sequence[Spot] = ()) -> Markup:
    """Points with their names where there is room for them; `front` is joined by steps."""
    plot = _Plot(spots, axes, _SIZE[0] - 12)
    parts = plot.frame()
    corners: list[tuple[float, float]] = []
    for spot in front:
        corners += [(plot.x(spot.x), corners[-1][1])] if corners else []
        corners.append((plot.x(spot.x), plot.y(spot.y)))
    parts += [path(corners, "front")] if len(corners) > 1 else []
    parts += [plot.spot(spot, _colour(groups, spot.group)) for spot in spots]
    return drawing(*_SIZE, "plot", f"{axes.y} against {axes.x}", [*parts, *_named(spots, plot, groups, corners)])


def legend(groups: Sequence[str]) -> Markup:
    """Which colour is which group."""
    names = (Markup('<span class="{}">\u25cf</span> {}').format(_colour(groups, name), name) for name in groups)
    return Markup('<p class="legend">{}</p>').format(Markup(" &nbsp; ").join(names))


class _Plot:
    """Where numbers stand in the picture."""

    def __init__(self, spots: Sequence[Spot], axes: Axes, right: float) -> None:
        self.axes, self.right, self.bottom = axes, right, _SIZE[1] - _BOTTOM
        ys = [bound for spot in spots for bound in (spot.y, spot.low or spot.y, spot.high or spot.y)]
        places = sorted({spot.x for spot in spots})
        self._places = places if len(places) <= _FEW else []
        self._x, self._y = _reach(places), _reach(ys)

    def x(self, value: float) -> float:
        return _LEFT + (self.right - _LEFT) * _share(value, self._x)

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - _TOP) * _share(value, self._y)

    def frame(self) -> list[Markup]:
        """Grid lines with their numbers, and what the axes mean."""
        parts = []
        for tick in log_ticks(*self._y):
            parts.append(line(_LEFT, self.y(tick), self.right, self.y(tick), "grid"))
            parts.append(label(_LEFT - 6, self.y(tick) + 4, "end", self.axes.read_y(tick)))
        last = -math.inf
        for tick in self._places or log_ticks(*self._x):
            parts.append(line(self.x(tick), _TOP, self.x(tick), self.bottom, "grid"))
            text = self.axes.read_x(tick)
            if self.x(tick) - last > _LETTER * (len(text) + 2):
                parts.append(label(self.x(tick), self.bottom + 15, "middle", text))
                last = self.x(tick)
        parts.append(label((_LEFT + self.right) / 2, _SIZE[1] - 6, "middle", self.axes.x, "axis-name"))
        return [*parts, label(4, 13, "start", self.axes.y, "axis-name")]

    def spot(self, spot: Spot, colour: str) -> Markup:
        x, y = self.x(spot.x), self.y(spot.y)
        parts = [tag("title", spot.says)]
        if spot.low is not None and spot.high is not None:
            parts.append(line(x, self.y(spot.low), x, self.y(spot.high), "bar"))
        parts.append(tag("circle", cx=x, cy=y, r=9, class_="reach"))
        parts.append(tag("circle", cx=x, cy=y, r=3.5, class_="hollow" if spot.hollow else "full"))
        return tag("g", *parts, class_=f"spot {colour}", tabindex="0")


def _reach(values: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest, with room beside them."""
    low, high = min(values), max(values)
    room = max((high / low) ** 0.06, 1.1)
    return low / room, high * room


def _share(value: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return math.log(value / low) / math.log(high / low)


def _colour(groups: Sequence[str], group: str) -> str:
    return f"c{groups.index(group) % _COLOURS}"


def _beside(ends: Sequence[tuple[float, float, str, str]], right: float) -> list[Markup]:
    """Names in the order of the curves' ends, pushed apart, each with a line to its end."""
    ordered = sorted(ends, key=lambda end: end[1])
    places = [max(_TOP + 4, end[1]) for end in ordered]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + _HIGH)
    over = max(0.0, places[-1] - (_SIZE[1] - _BOTTOM)) if places else 0.0
    parts = []
    for (x, y, name, colour), place in zip(ordered, (place - over for place in places), strict=True):
        parts.append(line(x + 5, y, right + 8, place, f"lead {colour}"))
        parts.append(label(right + 11, place + 4, "start", _short(name, _NAMES - 14), f"name {colour}"))
    return parts


def _named(
    spots: Sequence[Spot], plot: _Plot, groups: Sequence[str], corners: Sequence[tuple[float, float]]
) -> list[Markup]:
    """Names beside their points where they cover neither points nor other names; the pointer finds the others."""
    taken = [(plot.x(s.x) - 5, plot.y(s.y) - 5, plot.x(s.x) + 5, plot.y(s.y) + 5) for s in spots]
    taken += [(min(a, c), min(b, d), max(a, c) + 1, max(b, d) + 1) for (a, b), (c, d) in pairwise(corners)]
    parts = []
    for spot in spots:
        x, y, wide = plot.x(spot.x), plot.y(spot.y), _LETTER * len(spot.name)
        for left, baseline in ((x + 8, y + 4), (x - 8 - wide, y + 4), (x - wide / 2, y - 9), (x - wide / 2, y + 17)):
            box = (left, baseline - _HIGH + 3, left + wide, baseline + 2)
            inside = left > _LEFT and left + wide < _SIZE[0] and box[1] > 0 and box[3] < plot.bottom
            if inside and not any(_meet(box, other) for other in taken):
                taken.append(box)
                parts.append(label(left, baseline, "start", spot.name, f"name {_colour(groups, spot.group)}"))
                break
    return parts


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _short(name: str, room: float) -> str:
    most = int(room / _LETTER)
    return name if len(name) <= most else f"{name[: most - 1]}\u2026"
