"""A report as one HTML page: verdict, comparisons against their margins, measurements, history, environments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from dimbench.report import charts, choosing, html, metrics, page_pictures, wording
from dimbench.report import grids as summary
from dimbench.report.choosing import Shortlist
from dimbench.report.findings import Compared, Findings, History, Outcome, Raw, point, value
from dimbench.report.grids import Grid
from dimbench.report.html import Section
from dimbench.report.tables import Cell

# What keeps a page under 1 MB, however many records there are.
MOST_ROWS = 300
MOST_CHARTS = 24
MOST_POINTS = 40
MOST_WARNINGS, MOST_NAMED = 200, 20
_FILTERED_FROM = 10  # rows
_OPEN_WARNINGS = 5
_STRIPS = "Drawn: NEW / BASE as a mark on its 95 % interval, before the grey band of the margin."
_LEGEND = (
    "A dot is the median of one run, the line through it its 95 % interval, the bar the middle half of its samples. "
    "A dashed line stands where the environment changed."
)


def render(findings: Findings) -> str:
    """The whole page."""
    lead, tone = findings.verdict()
    choices = _choices(findings)
    sections = [
        *_compared(findings),
        *_chosen(choices),
        *_pictures(findings, choices),
        *_measured(findings),
        *_history(findings),
        *_rest(findings),
    ]
    return html.page("dimbench report", sections, lead, tone, data=_data(findings) or None)


def _choices(findings: Findings) -> Shortlist | None:
    """The models that were timed side by side; None where there are no two."""
    found = choosing.timed_alike([one.latest for one in findings.series])
    return found if len(found.choices) > 1 else None


def _chosen(found: Shortlist | None) -> list[Section]:
    if found is None:
        return []
    grid = choosing.grid(found)
    said = Markup('<div class="note">{}</div>').format(html.paragraphs(grid.note.splitlines()))
    return [Section("Choose", html.table(grid.columns, grid.rows, filtered=True) + said)]


def _pictures(findings: Findings, found: Shortlist | None) -> list[Section]:
    drawn = page_pictures.cards([one.latest for one in findings.series], found)
    return [Section("Plots", drawn)] if drawn else []


def _compared(findings: Findings) -> list[Section]:
    rows = [row for row in findings.comparisons if row.outcome is not Outcome.EQUAL]
    equal = findings.having(Outcome.EQUAL)
    sections = []
    if rows:
        grid = summary.compared(rows)
        reach = charts.reach([bound for row in rows for bound in (row.ratio, row.low, row.high) if bound is not None])
        place = list(grid.columns).index("verdict")
        columns = [*grid.columns[:place], f"\u2212{reach:.0%} to +{reach:.0%}", *grid.columns[place:]]
        cells = [[*line[:place], _strip(row, reach), *line[place:]] for row, line in zip(rows, grid.rows, strict=True)]
        sections.append(
            Section(
                "Compared",
                Markup('<p class="drawn">{}</p>').format(_STRIPS) + _table(Grid(columns, cells, note=grid.note)),
            )
        )
    if equal:
        sections.append(
            Section(f"Exact metrics unchanged ({len(equal)})", _table(summary.compared(equal)), folded=True)
        )
    return sections


def _strip(row: Compared, reach: float) -> Cell:
    if row.ratio is None or row.exact:
        return Cell("", tone="drawn")
    interval = None if row.low is None or row.high is None else (row.low, row.high)
    title = ", ".join(summary.words(row))
    drawn = charts.strip(row.ratio, interval, row.margin, reach, summary.tone(row.outcome), title)
    return Cell(drawn, str(row.ratio), tone="drawn")


def _measured(findings: Findings) -> list[Section]:
    return [Section(f"Measured by {grid.title}", _table(grid)) for grid in summary.measured(findings)]


def _table(grid: Grid) -> Markup:
    notes = [f"Conditions, where they apply: {grid.note}."] if grid.note else []
    if len(grid.rows) > MOST_ROWS:
        notes.append(f"The first {MOST_ROWS} of {len(grid.rows)} rows.")
    filtered = len(grid.rows) >= _FILTERED_FROM
    return html.paragraphs(notes) + html.table(grid.columns, grid.rows[:MOST_ROWS], filtered)


def _history(findings: Findings) -> list[Section]:
    again = [one for one in findings.series if len(one.records) > 1]
    cards = [card for one in again[:MOST_CHARTS] if (card := _card(one, again))]
    if not cards:
        return []
    notes = [_LEGEND]
    if len(again) > MOST_CHARTS:
        notes.append(f"The first {MOST_CHARTS} of {len(again)} that were measured more than once.")
    body = html.paragraphs(notes) + Markup('<div class="cards">{}</div>').format(Markup("").join(cards))
    return [Section("History", body)]


def _card(series: History, others: Sequence[History]) -> Markup | None:
    """A chart of what the command measures first; None where no run has it."""
    names = metrics.shown(series.command, [series.latest["metrics"]])
    found = [(record, point(record, names[0])) for record in series.records if names]
    runs = [(record, where) for record, where in found if where][-MOST_POINTS:]
    if not runs:
        return None
    breaks = _breaks([record for record, _ in runs])
    drawn = charts.history([where for _, where in runs], partial(metrics.text, names[0]), breaks)
    same = wording.shared([one.conditions for one in others if one.command == series.command])
    notes = [wording.words(series.conditions, same), *breaks.values()]
    said = html.paragraphs(note for note in dict.fromkeys(notes) if note)
    title = f"{series.model}: {metrics.label(names[0])}"
    return Markup('<div class="card"><h3>{}</h3>{}{}</div>').format(title, said, drawn)


def _breaks(records: Sequence[Raw]) -> dict[int, str]:
    """What changed in the environment just before a record, by its index; the commit always does."""
    found = {}
    for index, (before, after) in enumerate(pairwise(record["environment"] for record in records), start=1):
        changed = [trait for trait in wording.traits([before], [after]) if trait.differs and trait.name != "commit"]
        if changed:
            found[index] = ", ".join(
                f"{trait.name} {trait.sides[0][0]} \u2192 {trait.sides[1][0]}" for trait in changed
            )
    return found


def _rest(findings: Findings) -> list[Section]:
    grid = summary.environment(findings)
    differing = sum(bool(row[-1].tone) for row in grid.rows)
    said = f"Environment: {differing} of {len(grid.rows)} entries differ"
    sections = [Section(said, _table(grid), folded=not differing)] if grid.rows else []
    warnings = findings.warnings()
    if warnings:
        said = html.paragraphs(_warned(text, models) for text, models in list(warnings.items())[:MOST_WARNINGS])
        sections.append(Section(f"Warnings ({len(warnings)})", said, folded=len(warnings) > _OPEN_WARNINGS))
    return sections


def _warned(text: str, models: Sequence[str]) -> str:
    more = len(models) - MOST_NAMED
    return f"{', '.join(models[:MOST_NAMED])}{f' and {more} more' if more > 0 else ''}: {text}"


def _data(findings: Findings) -> list[dict[str, Any]]:
    """The latest measurements without raw series and details, for those who have only the page."""
    records = [one.latest for one in findings.series[:MOST_ROWS]]
    parts = ("command", "model", "conditions", "created")
    return [
        {
            **{part: record[part] for part in parts},
            "metrics": {name: value(number) for name, number in record["metrics"].items()},
        }
        for record in records
    ]
