"""A metric over the commits or versions that it was measured at, with the places where it came to another level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import inf
from statistics import median
from typing import Any

from markupsafe import Markup

from dimbench import names, units
from dimbench.comparing.gates import METRICS, MetricKind
from dimbench.comparing.judge import GPU_MARGIN
from dimbench.comparing.steps import MOST, Level, levels
from dimbench.report import charts, html, metrics, wording
from dimbench.report.curves import CPU_MARGIN
from dimbench.report.findings import Findings, History, Point, point
from dimbench.report.html import Section
from dimbench.report.tables import Table

MOST_CARDS = 60
_NAMED = 4  # commits or versions at most by their names
_COUNTED = ("macs", "params")


@dataclass(frozen=True)
class Course:
    """One metric of a series, a point for each commit or version in the order of their first record, the latest of
    them, and its levels. `earlier` says how many points there were before, `missing` where it was not measured."""

    series: History
    metric: str
    points: Sequence[Point]
    levels: Sequence[Level]
    earlier: int = 0
    missing: Sequence[str] = ()

    @property
    def model(self) -> str:
        return self.series.model

    @property
    def conditions(self) -> Mapping[str, Any]:
        return self.series.conditions

    @property
    def changes(self) -> list[tuple[Level, Level]]:
        return list(pairwise(self.levels))

    @property
    def furthest(self) -> float:
        """The greatest change as a share of what was before."""
        shares = (abs(new.value - old.value) / abs(old.value) if old.value else inf for old, new in self.changes)
        return max(shares, default=0.0)

    def change(self, before: Level, after: Level) -> str:
        """In per cent, or as a difference where a figure is not above 0."""
        if before.value > 0 and after.value > 0:
            return units.change(after.value / before.value)
        difference = after.value - before.value
        return ("+" if difference > 0 else "") + metrics.text(self.metric, difference)

    def left_out(self, over: str) -> list[str]:
        """What is not drawn of it, in sentences."""
        shown = f"The latest {len(self.points)} of {self.earlier + len(self.points)} {over}."
        more = len(self.missing) - _NAMED
        named = ", ".join(self.missing[:_NAMED]) + (f" and {more} more" if more > 0 else "")
        return [shown] * bool(self.earlier) + [f"Not measured at {named}."] * bool(self.missing)


def courses(findings: Findings, over: str, chosen: Sequence[str] = ()) -> list[Course]:
    """Of each series with two places or more, what changed furthest first: the metrics `chosen`, else what its command
    measures first, and what is counted where that changed. UsageError for a metric that no record has."""
    known = {name: name for series in findings.series for name in series.latest["metrics"]}
    chosen = [names.find(name, known, "metric of these records") for name in chosen]
    found: list[Course] = []
    for series in findings.series:
        if chosen:
            found += _of(series, over, chosen)
        else:
            first = metrics.shown(series.command, [series.latest["metrics"]])[:1]
            counted = [name for name in _COUNTED if name not in first]
            found += _of(series, over, first) + [course for course in _of(series, over, counted) if course.changes]
    return sorted(found, key=lambda course: -course.furthest)


def _of(series: History, over: str, chosen: Sequence[str]) -> list[Course]:
    return [course for name in chosen if (course := _course(series, over, name))]


def _course(series: History, over: str, metric: str) -> Course | None:
    heaps: dict[str, list[float]] = {}
    for record in series.records:
        if place := _place(record["environment"], over):
            reading = point(record, metric)
            heaps.setdefault(place, []).extend([reading.value] if reading else [])
    points = [Point(place, median(values), count=len(values)) for place, values in heaps.items() if values]
    if len(points) < 2:
        return None
    latest = points[-MOST:]
    found = levels([p.value for p in latest], _margin(metric, series.conditions))
    missing = [place for place, values in heaps.items() if not values]
    return Course(series, metric, latest, found, len(points) - len(latest), missing)


def _place(environment: Mapping[str, Any], over: str) -> str:
    if over == "commits":
        return str(environment.get("commit") or "")
    named = [f"{name} {environment[name]}" for name in ("dimbench", "torch") if environment.get(name)]
    return ", ".join(named)


def _margin(metric: str, conditions: Mapping[str, Any]) -> float:
    known = METRICS.get(metric)
    if known and known.kind is MetricKind.EXACT:
        return 0.0
    return GPU_MARGIN if conditions.get("device") == "cuda" else CPU_MARGIN


def _table(found: Sequence[Course]) -> Table:
    """One row for each change of level."""
    same = wording.shared([course.conditions for course in found])
    rows: list[Sequence[str]] = []
    for course in found:
        read = partial(metrics.text, course.metric)
        for before, after in course.changes:
            rows.append(
                (
                    course.model,
                    wording.words(course.conditions, same),
                    metrics.label(course.metric),
                    course.points[after.first].created,
                    course.change(before, after),
                    read(before.value),
                    read(after.value),
                )
            )
    columns: Sequence[str] = ("model", "conditions", "metric", "from", "change", "before", "after")
    if not any(row[1] for row in rows):
        columns, rows = (columns[0], *columns[2:]), [(row[0], *row[2:]) for row in rows]
    shared = [f"Conditions, where they apply: {wording.words(same)}."] if same else []
    return Table(columns, rows, notes=shared)


def _verdict(found: Sequence[Course], over: str) -> str:
    if not found:
        return f"No series has a figure at two {over}: there is nothing to draw."
    changed = sum(bool(course.changes) for course in found)
    places = {point.created for course in found for point in course.points}
    return f"Over {len(places)} {over}, {changed} of {len(found)} series came to another level."


def _not_drawn(findings: Findings, found: Sequence[Course], over: str) -> list[str]:
    """What the records hold besides, in sentences."""
    alone = len(findings.series) - len({id(course.series) for course in found})
    unnamed = sum(not _place(record["environment"], over) for one in findings.series for record in one.records)
    return [f"Not drawn: {alone} series with a figure at fewer than two {over}."] * bool(found and alone) + [
        f"Left out: {unnamed} of the records, which do not say of which of the {over} they are."
    ] * bool(unnamed)


_HOW = (
    "A level holds where the sum of distances from it falls by more than twice the margin, or four times the usual "
    "distance of neighbours: neither noise nor a single outlier is a change. Exact metrics change where they differ."
)


def markdown(findings: Findings, over: str, chosen: Sequence[str] = ()) -> str:
    """The changes as a table, ending in a newline."""
    found = courses(findings, over, chosen)
    blocks = [f"**{_verdict(found, over)}**"]
    blocks += [_table(found).markdown()] if any(course.changes for course in found) else []
    gaps = [f"{c.model}, {metrics.label(c.metric)}: {said}" for c in found for said in c.left_out(over)]
    return "\n\n".join([*blocks, *gaps, *_not_drawn(findings, found, over), _HOW]) + "\n"


def page(findings: Findings, over: str, chosen: Sequence[str] = ()) -> str:
    """The changes as a table and every course drawn, its changes marked."""
    found = courses(findings, over, chosen)
    changed = _table(found)
    sections = [Section("Changes", html.table(changed.columns, changed.rows))] if changed.rows else []
    cards = Markup("").join(_cards(found[:MOST_CARDS], over))
    notes = [_HOW, *changed.notes, *_not_drawn(findings, found, over)]
    notes += (
        [f"The first {MOST_CARDS} of {len(found)}, what changed furthest first."] if len(found) > MOST_CARDS else []
    )
    sections.append(
        Section(f"Over {over}", html.paragraphs(notes) + Markup('<div class="cards">{}</div>').format(cards))
    )
    return html.page(f"dimbench over {over}", sections, _verdict(found, over), "warn" if changed.rows else "good")


def _cards(found: Sequence[Course], over: str) -> Iterator[Markup]:
    same = wording.shared([course.conditions for course in found])
    for course in found:
        marks = {
            after.first: f"{course.change(before, after)} from {course.points[after.first].created}"
            for before, after in course.changes
        }
        drawn = charts.history(course.points, partial(metrics.text, course.metric), marks)
        said = html.paragraphs(
            filter(None, [wording.words(course.conditions, same), *marks.values(), *course.left_out(over)])
        )
        title = f"{course.model}: {metrics.label(course.metric)}"
        yield Markup('<div class="card"><h3>{}</h3>{}{}</div>').format(title, said, drawn)
