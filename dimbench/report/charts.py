"""Small charts as inline SVG; colours come from page.css, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from dimbench.report.findings import Point

_STRIP = (140, 20)  # width and height
_REACHES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
_CHART = (360, 170)
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 10, 10, 22  # room for labels round the plot
_BAR = 9  # greatest width of a bar of quartiles


def reach(ratios: Sequence[float]) -> float:
    """How far from 1 an axis has to reach to hold the ratios: a round share, 1 at most."""
    furthest = max((abs(ratio - 1) for ratio in ratios), default=0)
    return next((step for step in _REACHES if step >= furthest), _REACHES[-1])


def strip(
    ratio: float, interval: tuple[float, float] | None, margin: float | None, reach: float, tone: str, title: str
) -> Markup:
    """A ratio with its interval on an axis of 1 - reach to 1 + reach, before the band of the margin."""
    width, height = _STRIP
    middle = height / 2

    def x(value: float) -> float:
        return width / 2 * (1 + max(-1.0, min(1.0, (value - 1) / reach)))

    parts = [_tag("title", title)]
    if margin:
        parts.append(_rectangle(x(1 - margin), 1, x(1 + margin), height - 1, "band"))
    parts.append(_line(width / 2, 0, width / 2, height, "axis"))
    if interval:
        parts.append(_line(x(interval[0]), middle, x(interval[1]), middle, f"interval {tone}".strip()))
    parts.append(_line(x(ratio), 3, x(ratio), height - 3, f"mark {tone}".strip()))
    return _drawing(width, height, "strip", title, parts)


def history(points: Sequence[Point], read: Callable[[float], str], breaks: Mapping[int, str]) -> Markup:
    """A metric over the runs, evenly spaced: medians joined by a line, intervals, quartiles as bars.

    `read` turns a value into its label; `breaks` says of a point by its index what changed before it.
    """
    width, height = _CHART
    ticks = _ticks([bound for point in points for bound in _extent(point)])
    step = (width - _LEFT - _RIGHT) / len(points)

    def x(index: float) -> float:
        return _LEFT + step * (index + 0.5)

    def y(value: float) -> float:
        return _TOP + (height - _TOP - _BOTTOM) * (ticks[-1] - value) / (ticks[-1] - ticks[0])

    parts = []
    for tick in ticks:
        parts += [
            _line(_LEFT, y(tick), width - _RIGHT, y(tick), "grid"),
            _label(_LEFT - 6, y(tick) + 4, "end", read(tick)),
        ]
    for index, said in breaks.items():
        mark = _line(x(index - 0.5), _TOP, x(index - 0.5), height - _BOTTOM, "break")
        parts.append(_tag("g", _tag("title", said), mark))
    path = " ".join(f"{x(index):.1f},{y(point.value):.1f}" for index, point in enumerate(points))
    parts.append(_tag("polyline", points=path, class_="path"))
    bar = min(_BAR, step * 0.6)
    parts += [_point(point, x(index), y, bar, read) for index, point in enumerate(points)]
    parts.append(_label(_LEFT, height - 6, "start", points[0].created[:10]))
    parts.append(_label(width - _RIGHT, height - 6, "end", points[-1].created[:10]))
    title = f"{read(points[0].value)} to {read(points[-1].value)} in {len(points)} runs"
    return _drawing(width, height, "history", title, parts)


def _point(point: Point, x: float, y: Callable[[float], float], bar: float, read: Callable[[float], str]) -> Markup:
    said = f"{point.created}: {read(point.value)}"
    parts = []
    if point.quartiles:
        low, high = point.quartiles
        parts.append(_rectangle(x - bar / 2, y(high), x + bar / 2, y(low), "quartiles"))
        said += f", middle half {read(low)} to {read(high)} of {point.count} samples"
    if point.interval:
        low, high = point.interval
        parts.append(_line(x, y(low), x, y(high), "interval"))
        said += f", 95 % interval {read(low)} to {read(high)}"
    parts.append(_tag("circle", cx=x, cy=y(point.value), r=3, class_="dot"))
    return _tag("g", _tag("title", said), *parts)


def _extent(point: Point) -> tuple[float, ...]:
    return (point.value, *(point.interval or ()), *(point.quartiles or ()))


def _ticks(values: Sequence[float], about: int = 4) -> list[float]:
    """Round numbers, evenly spaced, from below the least to above the greatest value."""
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    low, high = low - room, high + room
    rough = (high - low) / about
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= rough)
    return [step * count for count in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _drawing(width: float, height: float, kind: str, title: str, parts: Sequence[Markup]) -> Markup:
    box = f"0 0 {width} {height}"
    return _tag("svg", *parts, class_=kind, viewBox=box, role="img", aria_label=title)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return _tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def _rectangle(left: float, top: float, right: float, bottom: float, kind: str) -> Markup:
    return _tag("rect", x=left, y=top, width=right - left, height=bottom - top, class_=kind)


def _label(x: float, y: float, anchor: str, text: str) -> Markup:
    return _tag("text", text, x=x, y=y, text_anchor=anchor)


def _tag(name: str, *content: str, **attributes: float | str) -> Markup:
    """An element with attributes in Python's spelling (class_, text_anchor); content is escaped unless it is Markup."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _rounded(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, Markup("").join(content))


def _rounded(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
