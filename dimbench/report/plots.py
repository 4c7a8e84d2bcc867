"""Plots for print and screen, without a display: points, lines, stacked bars. Only here is matplotlib imported."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Okabe & Ito's colours, which the colour-blind tell apart; each with a marker and a hatch of its own, for print.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "P", "v", "X", "*")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo", "---")

_STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.6,
    "axes.axisbelow": True, "legend.frameon": False, "svg.fonttype": "none", "pdf.fonttype": 42, "hatch.linewidth": 0.5,
}  # fmt: skip
_SIZE = (7.2, 4.4)  # inches: across a page of print
_DPI = 200
# Where a name may stand beside its point, best first, in points: near it, then at the end of a line.
_NEAR = ((6, 0), (-6, 0), (0, 8), (0, -9), (6, 7), (6, -8), (-6, 7), (-6, -8))
_FAR = tuple((round(reach * x), round(0.8 * reach * y)) for reach in (20, 32, 46, 62, 80)
             for x, y in ((0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7), (0, 1), (0, -1), (1, 0.3), (1, -0.3),
                          (-1, 0.3), (-1, -0.3)))  # fmt: skip
_OFFSETS = _NEAR + _FAR
_CROWD = 25  # points from which on a figure is made taller
# Behind names, so that lines do not cross them; a stroked outline would turn the text of an SVG into shapes.
_GROUND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
_INK = 0.6  # how far a colour is darkened where it writes a name
_NARROW = 5  # times the lowest value: where a logarithmic axis that ends below it shows less than three of 1, 2 and 5
_SMALL = 0.01  # share of a bar below which a part is not shown by itself


@dataclass(frozen=True)
class Dot:
    """`group` decides colour and marker, and in the legend groups stand below their `kind`, if any; a hollow point is
    one to be read with care."""

    x: float
    y: float
    group: str
    label: str
    hollow: bool = False
    kind: str = ""


@dataclass(frozen=True)
class Frame:
    """What stands around a plot: labels with units, logarithmic axes, and a caption below."""

    title: str
    x: str
    y: str
    caption: str = ""
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Mark:
    """A measured point with its interval, where there is one; a hollow point is one to be read with care."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    hollow: bool = False


@dataclass(frozen=True)
class Curve:
    """Points joined in the order of x; `crossings` are marked on it, each with its label. In the legend curves stand
    below their `kind`, if any."""

    label: str
    points: Sequence[Mark]
    crossings: Sequence[tuple[float, float, str]] = field(default_factory=tuple)
    kind: str = ""


def scatter(
    points: Sequence[Dot], groups: Sequence[str], frame: Frame, file: Path, form: str, front: Sequence[Dot] = ()
) -> None:
    """Labelled points; a group has the look of its place in `groups`. `front` is joined by steps, as what no other
    point beats."""
    with _figure(frame, file, form, height=_SIZE[1] + 0.06 * max(0, len(points) - _CROWD)) as (figure, axes):
        for point in points:
            colour, marker = _look(groups.index(point.group))
            fill = "white" if point.hollow else colour
            axes.plot(point.x, point.y, marker, color=colour, markersize=6, zorder=3, markerfacecolor=fill)
        if front:
            axes.step([p.x for p in front], [p.y for p in front], where="post", color="#999999", lw=1, zorder=1)
        axes.margins(0.14, 0.08)  # room for the names on either side
        keys = []
        for kind in dict.fromkeys(sorted(point.kind for point in points)):
            shown = {point.group for point in points if point.kind == kind}
            keys += [_heading(kind)] if kind else []
            keys += [_key(name, index) for index, name in enumerate(groups) if name in shown]
        _legend(axes, keys)
        colours = [_look(groups.index(point.group))[0] for point in points]
        _label(figure, axes, points, colours, steps=[(point.x, point.y) for point in front])


@dataclass(frozen=True)
class Facet:
    """One of several scatters in a figure, with its `front`."""

    title: str
    points: Sequence[Dot]
    front: Sequence[Any]


def facets(panels: Sequence[Facet], groups: Sequence[str], frame: Frame, file: Path, form: str) -> None:
    """Labelled points in a panel each, two beside each other, with one legend; the first of `groups` is marked by a
    line through all of each panel."""
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    with mpl.rc_context(_STYLE):
        figure = _empty(0.9 + 2.5 * down)
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _facet(axes, panel, groups, frame.log_y)
            axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        for axes in grid.flat[max(0, len(panels) - across) : len(panels)]:
            axes.set_xlabel(frame.x, fontsize=7.5)
        figure.suptitle(frame.title, fontsize=10, x=0.01, ha="left")
        figure.supylabel(frame.y, fontsize=9)
        figure.supxlabel(textwrap.fill(frame.caption, 122), fontsize=7.5, color="#444444", x=0.01, ha="left")
        keys = [_key(name, index) for index, name in enumerate(groups)]
        figure.legend(handles=keys, loc="outside right upper", fontsize=7.5)
        for axes, panel in zip(grid.flat, panels, strict=False):
            colours = [_look(groups.index(point.group))[0] for point in panel.points]
            _label(figure, axes, panel.points, colours, steps=[(point.x, point.y) for point in panel.front])
        figure.savefig(file, format=form)


def _number(axis: Axis) -> None:
    """Numbers at 1, 2 and 5 of a logarithmic axis; where it spans so little that these may be one, at every tick."""

    def minor(value: float, _: object) -> str:
        low, high = axis.get_view_interval()
        return f"{value:g}" if high < _NARROW * low else ""

    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.FuncFormatter(minor))


def _facet(axes: Axes, panel: Facet, groups: Sequence[str], log_y: bool) -> None:
    for point in panel.points:
        colour, marker = _look(groups.index(point.group))
        fill = "white" if point.hollow else colour
        axes.plot(point.x, point.y, marker, color=colour, markersize=5, zorder=3, markerfacecolor=fill)
        if point.group == groups[0]:
            axes.axhline(point.y, color=colour, lw=0.6, ls=":", zorder=1)
            axes.axvline(point.x, color=colour, lw=0.6, ls=":", zorder=1)
    axes.step([p.x for p in panel.front], [p.y for p in panel.front], where="post", color="#999999", lw=1, zorder=1)
    axes.set_title(panel.title)
    axes.margins(0.1)
    axes.set_xlim(left=0)
    if log_y:
        axes.set_yscale("log")
        _number(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)


def lines(series: Sequence[Curve], frame: Frame, file: Path, form: str, ticks: Mapping[float, str]) -> None:
    """One line per series with a marker and its interval at each measured point, and its crossings circled. `ticks`
    are the places along x that are named."""
    with _figure(frame, file, form) as (figure, axes):
        for index, line in enumerate(series):
            colour, marker = _look(index)
            points = sorted(line.points, key=lambda point: point.x)
            axes.plot([point.x for point in points], [point.y for point in points], color=colour, lw=1.4)
            for point in points:
                if point.low is not None and point.high is not None:
                    axes.vlines(point.x, point.low, point.high, color=colour, lw=3, alpha=0.5)
                fill = "white" if point.hollow else colour
                axes.plot(point.x, point.y, marker, color=colour, markersize=5, zorder=3, markerfacecolor=fill)
            for x, y, _ in line.crossings:
                axes.plot(x, y, "o", markersize=8, markerfacecolor="none", color="black", zorder=4)
        axes.xaxis.set_major_locator(ticker.FixedLocator(list(ticks)))
        axes.xaxis.set_major_formatter(ticker.FixedFormatter(list(ticks.values())))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.margins(0.08)
        keys = []
        for kind in dict.fromkeys(line.kind for line in series):
            keys += [_heading(kind)] if kind else []
            keys += [_key(line.label, index, joined=True) for index, line in enumerate(series) if line.kind == kind]
        _legend(axes, keys)
        crossings = [Dot(x, y, "", said) for line in series for x, y, said in line.crossings]
        _label(
            figure, axes, crossings, ["black"] * len(crossings), [(p.x, p.y) for line in series for p in line.points]
        )


def stacked(
    bars: Mapping[str, Mapping[str, float]], frame: Frame, file: Path, form: str, parts_in_order: Sequence[str] = ()
) -> None:
    """One horizontal bar per entry, cut into its parts, with the sum at its end; parts small everywhere are one. A part
    has the look of its place in `parts_in_order`, so that it keeps it in every picture."""
    names, (parts, small) = list(bars), _parts(bars)
    if small:
        frame = replace(frame, caption=f"{frame.caption} Other: {', '.join(small)}.".strip())
    with _figure(frame, file, form, height=1.3 + 0.4 * len(bars)) as (_, axes):
        left = [0.0] * len(names)
        looks = list(dict.fromkeys([*parts_in_order, *parts]))
        for label, members in parts.items():
            sizes = [sum(bars[name].get(part, 0) for part in members) for name in names]
            turn, place = divmod(looks.index(label), len(COLOURS))
            colour, hatch = COLOURS[place], HATCHES[(place + turn) % len(HATCHES)]
            axes.barh(names, sizes, 0.65, left, color=colour, hatch=hatch, edgecolor="white", label=label)
            left = [start + size for start, size in zip(left, sizes, strict=True)]
        for name, total in zip(names, left, strict=True):
            axes.annotate(f"{total:,.1f}", (total, name), xytext=(4, 0), textcoords="offset points", va="center")
        axes.set_xlim(0, 1.12 * max(left))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        _legend(axes, axes.get_legend_handles_labels()[0])


def _parts(bars: Mapping[str, Mapping[str, float]]) -> tuple[dict[str, list[str]], list[str]]:
    """Label -> parts, the largest first and last, as "other", those that are small in every bar; and these."""
    totals: Counter[str] = Counter()
    shares: dict[str, float] = {}
    for bar in bars.values():
        totals.update(bar)
        for part, size in bar.items():
            shares[part] = max(shares.get(part, 0), size / sum(bar.values()))
    ordered = [part for part, _ in totals.most_common()]
    small = [part for part in ordered if shares[part] < _SMALL]
    shown = {part: [part] for part in ordered if part not in small}
    return {**shown, "other": small} if small else shown, small


def _empty(height: float) -> Figure:
    """A figure that no window and no list of pyplot knows."""
    figure = Figure(figsize=(_SIZE[0], height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)  # keeps what measures texts
    return figure


@contextmanager
def _figure(frame: Frame, file: Path, form: str, height: float = _SIZE[1]) -> Iterator[tuple[Figure, Axes]]:
    """A figure in our style with one pair of axes, saved to `file` in the format `form` when the block ends well."""
    with mpl.rc_context(_STYLE):
        figure = _empty(height)
        axes = figure.subplots()
        axes.set(title=frame.title, xlabel=frame.x, ylabel=frame.y)
        for axis, log in ((axes.xaxis, frame.log_x), (axes.yaxis, frame.log_y)):
            if log:
                axes.set(**{f"{axis.axis_name}scale": "log"})
                _number(axis)
        if frame.caption:
            figure.supxlabel(frame.caption, fontsize=7.5, color="#444444", x=0.01, ha="left", wrap=True)
        yield figure, axes
        figure.savefig(file, format=form)


def _look(index: int) -> tuple[str, str]:
    """Colour and marker of the group at that place."""
    turn, place = divmod(index, len(COLOURS))
    return COLOURS[place], MARKERS[(place + turn) % len(MARKERS)]


def _heading(text: str) -> Line2D:
    return Line2D([], [], ls="", label=f"{text}:")


def _key(name: str, index: int, joined: bool = False) -> Line2D:
    colour, marker = _look(index)
    return Line2D([], [], color=colour, marker=marker, ls="-" if joined else "", label=name)


def _legend(axes: Axes, handles: Sequence[Any]) -> None:
    """Beside the axes, where no data can lie."""
    size = 9 if len(handles) < 15 else 7.5
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize=size)


def _label(
    figure: Figure,
    axes: Axes,
    points: Sequence[Dot],
    colours: Sequence[str],
    others: Sequence[tuple[float, float]] = (),
    steps: Sequence[tuple[float, float]] = (),
) -> None:
    """Name every point where its name covers no other name, no point, none of the `others` and no step, and stays
    within the axes. From then on the axes stay where they are."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine(None)
    scale = figure.dpi / 72
    centres = [axes.transData.transform((point.x, point.y)) for point in points]
    marks = [*centres, *map(axes.transData.transform, others)]
    taken: list[Box] = [(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in marks]
    corners = [axes.transData.transform(corner) for corner in steps]
    for (left, high), (right, low) in pairwise(corners):
        taken += [(left, high - scale, right, high + scale), (right - scale, low, right + scale, high)]
    inside = axes.get_window_extent().extents
    for point, colour, (x, y) in zip(points, colours, centres, strict=True):
        text = axes.annotate(point.label, (point.x, point.y), (0, 0), textcoords="offset points", va="center")
        text.set(fontsize=7.5, color=[_INK * part for part in to_rgb(colour)], bbox=_GROUND)
        size = text.get_window_extent()
        choices = [_placed(x, y, dx * scale, dy * scale, size.width, size.height) for dx, dy in _OFFSETS]
        best = _first_least(_outside(box, inside) + sum(_overlap(box, other) for other in taken) for box in choices)
        across, up = _OFFSETS[best]
        text.set_position((across, up))
        text.set(ha="center" if across == 0 else "left" if across > 0 else "right")
        if best >= len(_NEAR):
            line = {"arrowstyle": "-", "color": colour, "lw": 0.5, "shrinkA": 0, "shrinkB": 3}
            axes.annotate("", (point.x, point.y), (across, up), textcoords="offset points", arrowprops=line, zorder=2)
        taken.append(choices[best])


Box = tuple[float, float, float, float]


def _first_least(costs: Iterable[float]) -> int:
    """The place of the first of the least; what comes behind a zero is not looked at."""
    least, place = math.inf, 0
    for index, cost in enumerate(costs):
        if cost < least:
            least, place = cost, index
        if least == 0:
            break
    return place


def _placed(x: float, y: float, dx: float, dy: float, width: float, height: float) -> Box:
    """The box of a text at an offset from its point, in pixels."""
    left = x + dx - (width / 2 if dx == 0 else width if dx < 0 else 0)
    return (left, y + dy - height / 2, left + width, y + dy + height / 2)


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _outside(box: Box, axes: Sequence[float]) -> float:
    """The area of the box that lies beyond the axes."""
    whole = (box[2] - box[0]) * (box[3] - box[1])
    return whole - _overlap(box, (axes[0], axes[1], axes[2], axes[3]))
