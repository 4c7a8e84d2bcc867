"""Small charts as inline SVG; colours come from page.css, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from dimbench.report.findings import Point
from dimbench.report.svg import drawing, label, line, rectangle, round_ticks, tag

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

    parts = [tag("title", title)]
    if margin:
        parts.append(rectangle(x(1 - margin), 1, x(1 + margin), height - 1, "band"))
    parts.append(line(width / 2, 0, width / 2, height, "axis"))
    if interval:
        parts.append(line(x(interval[0]), middle, x(interval[1]), middle, f"interval {tone}".strip()))
    parts.append(line(x(ratio), 3, x(ratio), height - 3, f"mark {tone}".strip()))
    return drawing(width, height, "strip", title, parts)


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
            line(_LEFT, y(tick), width - _RIGHT, y(tick), "grid"),
            label(_LEFT - 6, y(tick) + 4, "end", read(tick)),
        ]
    for index, said in breaks.items():
        mark = line(x(index - 0.5), _TOP, x(index - 0.5), height - _BOTTOM, "break")
        parts.append(tag("g", tag("title", said), mark))
    path = " ".join(f"{x(index):.1f},{y(point.value):.1f}" for index, point in enumerate(points))
    parts.append(tag("polyline", points=path, class_="path"))
    bar = min(_BAR, step * 0.6)
    parts += [_point(point, x(index), y, bar, read) for index, point in enumerate(points)]
    parts.append(label(_LEFT, height - 6, "start", points[0].created[:10]))
    parts.append(label(width - _RIGHT, height - 6, "end", points[-1].created[:10]))
    title = f"{read(points[0].value)} to {read(points[-1].value)} in {len(points)} runs"
    return drawing(width, height, "history", title, parts)


def _point(point: Point, x: float, y: Callable[[float], float], bar: float, read: Callable[[float], str]) -> Markup:
    said = f"{point.created}: {read(point.value)}"
    parts = []
    if point.quartiles:
        low, high = point.quartiles
        parts.append(rectangle(x - bar / 2, y(high), x + bar / 2, y(low), "quartiles"))
        said += f", middle half {read(low)} to {read(high)} of {point.count} samples"
    if point.interval:
        low, high = point.interval
        parts.append(line(x, y(low), x, y(high), "interval"))
        said += f", 95 % interval {read(low)} to {read(high)}"
    parts.append(tag("circle", cx=x, cy=y(point.value), r=3, class_="dot"))
    return tag("g", tag("title", said), *parts)


def _extent(point: Point) -> tuple[float, ...]:
    return (point.value, *(point.interval or ()), *(point.quartiles or ()))


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers, evenly spaced, from below the least to above the greatest value."""
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return round_ticks(low - room, high + room)
