"""Plots for print and screen, drawn without a display: points, lines, stacked bars. matplotlib is imported only here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Okabe & Ito's colours, which the colour-blind tell apart; each with a marker and a hatch of its own, for print.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "P", "v", "X", "*")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo", "---")

_STYLE = {
    "font.size": 9, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.6,
    "axes.axisbelow": True, "legend.frameon": False, "svg.fonttype": "none", "pdf.fonttype": 42, "hatch.linewidth": 0.5,
}  # fmt: skip
_SIZE = (7.2, 4.4)  # inches: across a page of print
_DPI = 200
_OFFSETS = ((6, 0), (-6, 0), (0, 8), (0, -9), (6, 7), (6, -8), (-6, 7), (-6, -8), (0, 15), (0, -16), (14, 12), (14, -13))


@dataclass(frozen=True)
class Point:
    """`group` decides colour and marker; a hollow point is one to be read with care."""

    x: float
    y: float
    group: str
    label: str
    hollow: bool = False


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
class Line:
    """Points joined in the order of x; `crossings` are marked on it, each with its label."""

    label: str
    points: Sequence[tuple[float, float]]
    crossings: Sequence[tuple[float, float, str]] = field(default_factory=tuple)


def scatter(points: Sequence[Point], frame: Frame, file: Path, form: str, front: Sequence[Point] = ()) -> None:
    """Labelled points by group; `front` is joined by steps, as what no other point beats."""
    with _figure(frame, file, form) as (figure, axes):
        groups = list(dict.fromkeys(point.group for point in points))
        for point in points:
            index = groups.index(point.group) % len(COLOURS)
            colour = COLOURS[index]
            axes.plot(
                point.x, point.y, MARKERS[index], color=colour, markersize=6, zorder=3,
                markerfacecolor="white" if point.hollow else colour,
            )  # fmt: skip
        if front:
            axes.step([p.x for p in front], [p.y for p in front], where="post", color="#555555", lw=1, zorder=1)
        axes.margins(0.08)
        _legend(axes, [_key(name, index) for index, name in enumerate(groups)])
        _label(figure, axes, points)


def lines(series: Sequence[Line], frame: Frame, file: Path, form: str, ticks: Sequence[float] = ()) -> None:
    """One line per series with a marker at each measured point, and its crossings circled."""
    with _figure(frame, file, form) as (_, axes):
        for index, line in enumerate(series):
            look = index % len(COLOURS)
            xs, ys = zip(*sorted(line.points), strict=True)
            axes.plot(xs, ys, color=COLOURS[look], marker=MARKERS[look], markersize=5, lw=1.4)
            for x, y, said in line.crossings:
                axes.plot(x, y, "o", markersize=12, markerfacecolor="none", color="black", zorder=4)
                axes.annotate(said, (x, y), textcoords="offset points", xytext=(0, -16), ha="center", fontsize=8)
        if ticks:
            axes.xaxis.set_major_locator(ticker.FixedLocator(list(ticks)))
            axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.margins(0.08)
        _legend(axes, [_key(line.label, index, joined=True) for index, line in enumerate(series)])


def stacked(bars: Mapping[str, Mapping[str, float]], frame: Frame, file: Path, form: str) -> None:
    """One horizontal bar per entry, cut into its parts, with the sum at its end."""
    with _figure(frame, file, form, height=1.6 + 0.42 * len(bars)) as (_, axes):
        totals = {part: sum(bar.get(part, 0) for bar in bars.values()) for bar in bars.values() for part in bar}
        parts = sorted(totals, key=lambda part: -totals[part])
        names = list(bars)
        left = [0.0] * len(names)
        for index, part in enumerate(parts):
            sizes = [bars[name].get(part, 0) for name in names]
            look = index % len(COLOURS)
            axes.barh(names, sizes, left=left, color=COLOURS[look], hatch=HATCHES[look], edgecolor="white", label=part)
            left = [start + size for start, size in zip(left, sizes, strict=True)]
        for name, total in zip(names, left, strict=True):
            axes.annotate(f"{total:,.1f}", (total, name), textcoords="offset points", xytext=(4, 0), va="center")
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
        _legend(axes, axes.get_legend_handles_labels()[0])


class _figure:
    """A figure under our style with one pair of axes, saved to `file` in the format `form` when the block ends well."""

    def __init__(self, frame: Frame, file: Path, form: str, height: float = _SIZE[1]) -> None:
        self.frame, self.file, self.form = frame, file, form
        self.height = height
        self.style = mpl.rc_context(_STYLE)

    def __enter__(self) -> tuple[Figure, Axes]:
        self.style.__enter__()
        self.figure, axes = pyplot.subplots(figsize=(_SIZE[0], self.height), dpi=_DPI, layout="constrained")
        axes.set(title=self.frame.title, xlabel=self.frame.x, ylabel=self.frame.y)
        for axis, log in ((axes.xaxis, self.frame.log_x), (axes.yaxis, self.frame.log_y)):
            if log:
                getattr(axes, f"set_{axis.axis_name}scale")("log")
                axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        if self.frame.caption:
            self.figure.supxlabel(self.frame.caption, fontsize=7.5, color="#444444", x=0.01, ha="left", wrap=True)
        return self.figure, axes

    def __exit__(self, kind: Any, *rest: Any) -> None:
        try:
            if kind is None:
                self.figure.savefig(self.file, format=self.form)
        finally:
            pyplot.close(self.figure)
            self.style.__exit__(kind, *rest)


def _key(name: str, index: int, joined: bool = False) -> Line2D:
    look = index % len(COLOURS)
    return Line2D([], [], color=COLOURS[look], marker=MARKERS[look], ls="-" if joined else "", label=name)


def _legend(axes: Axes, handles: Sequence[Any]) -> None:
    """Beside the axes, where no data can lie."""
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)


def _label(figure: Figure, axes: Axes, points: Sequence[Point]) -> None:
    """Name every point where its name covers neither another name nor a point."""
    figure.canvas.draw()
    scale = figure.dpi / 72
    centres = [axes.transData.transform((point.x, point.y)) for point in points]
    taken = [(x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale) for x, y in centres]
    for point, (x, y) in zip(points, centres, strict=True):
        text = axes.annotate(point.label, (point.x, point.y), textcoords="offset points", fontsize=7.5, va="center")
        box = text.get_window_extent()
        choices = [_placed(x, y, dx * scale, dy * scale, box.width, box.height) for dx, dy in _OFFSETS]
        costs = [sum(_overlap(choice, other) for other in taken) for choice in choices]
        best = costs.index(min(costs))
        text.set_position(_OFFSETS[best])
        text.set_ha({1: "left", 0: "center", -1: "right"}[(_OFFSETS[best][0] > 0) - (_OFFSETS[best][0] < 0)])
        taken.append(choices[best])


Box = tuple[float, float, float, float]


def _placed(x: float, y: float, dx: float, dy: float, width: float, height: float) -> Box:
    """The box of a text at an offset from its point, in pixels."""
    left = x + dx - (width / 2 if dx == 0 else width if dx < 0 else 0)
    return (left, y + dy - height / 2, left + width, y + dy + height / 2)


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0
