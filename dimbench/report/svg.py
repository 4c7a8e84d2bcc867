"""What inline SVG is made of; colours come from page.css, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup


def drawing(width: float, height: float, kind: str, title: str, parts: Sequence[Markup]) -> Markup:
    """The whole picture; `title` says what it shows to those who cannot see it."""
    return tag("svg", *parts, class_=kind, viewBox=f"0 0 {width} {height}", role="img", aria_label=title)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def rectangle(left: float, top: float, right: float, bottom: float, kind: str) -> Markup:
    return tag("rect", x=left, y=top, width=right - left, height=bottom - top, class_=kind)


def label(x: float, y: float, anchor: str, text: str, kind: str = "") -> Markup:
    return tag("text", text, x=x, y=y, text_anchor=anchor, **({"class_": kind} if kind else {}))


def path(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """The points joined by straight lines."""
    return tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=kind)


def tag(name: str, *content: str, **attributes: float | str) -> Markup:
    """An element with attributes in Python's spelling (class_, text_anchor); content is escaped unless it is Markup."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _rounded(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, Markup("").join(content))


def _rounded(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")


def round_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers, evenly spaced, from below `low` to above `high`."""
    rough = (high - low) / about
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= rough)
    return [step * count for count in range(math.floor(low / step), math.ceil(high / step) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers of a logarithmic axis within the bounds: 1, 2, 5 times powers of ten, of many powers 1 alone."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [factor * 10.0**power for power in powers for factor in ((1, 2, 5) if len(powers) < 5 else (1,))]
    return [tick for tick in found if low <= tick <= high]
