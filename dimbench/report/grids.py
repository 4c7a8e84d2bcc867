"""The tables of a report, the same in Markdown and in HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from dimbench import units
from dimbench.report import metrics, quality, wording
from dimbench.report.findings import GRAVE, Compared, Findings, History, Outcome, point
from dimbench.report.tables import Cell, Table

INTERVAL = "95 % interval"


@dataclass(frozen=True)
class Grid:
    """A table before it is drawn; `note` holds what is the same in all its rows, `best` is as of a Table."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    note: str = ""
    best: Mapping[str, str] = field(default_factory=dict)

    def table(self) -> Table:
        """Its texts, intervals of figures as ± behind them."""
        notes = [f"Conditions, where they apply: {self.note}."] if self.note else []
        texts = [[cell.text for cell in row] for row in self.rows]
        intervals = [i for i, name in enumerate(self.columns) if name == INTERVAL and self.columns[i - 1] in self.best]
        for cells in texts:
            for index in intervals:
                figure, interval = cells[index - 1], cells[index]
                if isinstance(figure, units.Amount) and isinstance(interval, units.Amount) and interval.ends:
                    half = (interval.ends[1] - interval.ends[0]) / 2
                    said = f"{figure} ± {units.share(half, figure.number or 0)}"
                    cells[index - 1] = figure.saying(said, interval.ends)
        kept = [index for index in range(len(self.columns)) if index not in intervals]
        rows = [[cells[index] for index in kept] for cells in texts]
        return Table([self.columns[index] for index in kept], rows, self.title, notes, best=self.best)


def tables(findings: Findings) -> list[Table]:
    """What was compared and what was measured; the warnings stand below the last."""
    grids = [compared(findings.comparisons)] if findings.comparisons else []
    *rest, last = (grid.table() for grid in [*grids, *measured(findings)])
    warnings = [f"{', '.join(models)}: {text}" for text, models in findings.warnings().items()]
    return [*rest, replace(last, notes=[*last.notes, *warnings])]


def compared(rows: Sequence[Compared]) -> Grid:
    """One row per comparison: both figures, the change with its interval against the margin, the verdict in words."""
    same = wording.shared([row.conditions for row in rows])
    columns = ["model", "metric", "change", "verdict", INTERVAL, "margin", "base", "new", "conditions"]
    measured: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        measured.setdefault((row.model, row.metric), set()).add(row.command)
    cells = [_compared(row, same, len(measured[row.model, row.metric]) > 1) for row in rows]
    return _without_empty(Grid(columns, cells, note=wording.words(same)))


def _compared(row: Compared, same: Mapping[str, Any], several: bool) -> list[Cell]:
    """`several` commands measured this metric of the model."""
    interval = margin = ""
    if row.low is not None and row.high is not None:
        ends = (row.low - 1, row.high - 1)
        interval = units.Amount(f"{units.change(row.low)} to {units.change(row.high)}", None, units.SHARE, ends)
    if row.margin is not None:
        margin = units.decimal(row.margin, ".3g") if row.ratio is None else units.share(row.margin, 1)
    verdict = row.outcome if row.outcome is Outcome.LOST else row.verdict
    if row.reason:
        verdict = f"{verdict}: {row.reason}"
    return [
        Cell(row.model),
        Cell(metrics.label(row.metric) + (f", by {row.command}" if several else "")),
        Cell(change(row), row.ratio, tone(row.outcome)),
        Cell(verdict, str(list(Outcome).index(row.outcome)), tone(row.outcome)),
        Cell(interval, row.low),
        Cell(margin, row.margin),
        Cell(metrics.text(row.metric, row.base, full=True), row.base),
        Cell(metrics.text(row.metric, row.new, full=True), row.new),
        Cell(wording.words(row.conditions, same)),
    ]


def words(row: Compared) -> list[str]:
    """A comparison in a few words each, the verdict first."""
    grid = compared([row])
    said = dict(zip(grid.columns, (cell.text for cell in grid.rows[0]), strict=True))
    return [said.pop("verdict"), *(f"{name} {text}" for name, text in said.items() if name not in ("model", "metric"))]


def change(row: Compared) -> str:
    """In per cent, or as a difference where there is no ratio or it hides one; "" where nothing changed or is known."""
    if row.base is None or row.new is None or row.outcome is Outcome.EQUAL:
        return ""
    if row.exact:
        return units.decimal(row.new - row.base, "+,.0f", metrics.unit(row.metric))
    return units.decimal(row.new - row.base, "+.3g") if row.ratio is None else units.change(row.ratio)


def tone(outcome: Outcome) -> str:
    """The colour of an outcome."""
    return "bad" if outcome in GRAVE else {Outcome.UNCLEAR: "warn", Outcome.BETTER: "good"}.get(outcome, "")


def measured(findings: Findings) -> list[Grid]:
    """One table per command, a row per model and conditions with its latest figures; of image quality one per
    protocol, for figures of unlike protocols must not stand in one column, and of costs one for each kind."""
    grids = []
    for command, rows in findings.by_command().items():
        alike: dict[str, list[History]] = {}
        for row in rows:
            alike.setdefault(_title(row), []).append(row)
        grids += [_measured(command, group, title) for title, group in alike.items()]
    return grids


def _title(row: History) -> str:
    """The command, and of what kind its figures are where it has several."""
    if row.command == "fid":
        return f"fid, protocol {quality.protocol(row.conditions)}"
    kind = next((_COSTS[name] for name in row.latest["metrics"] if name in _COSTS), "") if row.command == "cost" else ""
    return f"{row.command} {kind}".strip()


_COSTS = {"forward_macs": "train", "claimed_days": "claims of GPU-days", "executed_share": "claims of methods"}


def _measured(command: str, rows: Sequence[History], title: str) -> Grid:
    same = wording.shared([row.conditions for row in rows])
    names = metrics.shown(command, [row.latest["metrics"] for row in rows])
    sampled = [name for name in names if any(name in row.latest.get("samples", {}) for row in rows)]
    columns = ["model", "conditions"]
    for name in names:
        columns += [_heading(name, same), *((INTERVAL, "IQR") if name in sampled else ())]
    cells = [
        [
            Cell(row.model),
            Cell(wording.words(row.conditions, same)),
            *(cell for name in names for cell in _figure(row, name, name in sampled)),
        ]
        for row in rows
    ]
    best = {
        _heading(name, same): which
        for name in names
        if (which := metrics.best(name))
        and (name in sampled or not metrics.is_timed(name))  # without an interval chance may decide which is the best
    }
    return _without_empty(Grid(columns, cells, title, wording.words(same), best))


def _heading(metric: str, same: Mapping[str, Any]) -> str:
    """Of image quality with the number of images, where it is the same in all rows."""
    if metric in quality.METRICS and "num_images" in same:
        return quality.label(metric, same)
    return metrics.label(metric)


def _figure(row: History, name: str, sampled: bool) -> list[Cell]:
    """The latest figure of a metric, followed by its interval and interquartile range if some row has a raw series."""
    found = point(row.latest, name)
    if found is None:
        return [Cell(metrics.absent(name), tone="warn"), *[Cell("")] * (2 * sampled)]
    few = row.samples_without_interval if metrics.is_timed(name) else 0
    said = metrics.amount(name, found.value, digits=units.FEW_DIGITS if few else units.DIGITS)
    figure = Cell(
        said.saying(said + units.of_samples(few)), found.value, hint=metrics.text(name, found.value, full=True)
    )
    if not sampled:
        return [figure]
    interval = units.between(*found.interval, partial(metrics.text, name)) if found.interval else ""
    spread = found.quartiles[1] - found.quartiles[0] if found.quartiles else None
    return [
        figure,
        Cell(interval, found.interval and found.interval[0]),
        Cell("" if spread is None else metrics.text(name, spread), spread),
    ]


def environment(findings: Findings) -> Grid:
    """Base and new side by side where something was compared, else all values of each entry; what differs is marked."""
    if findings.comparisons:
        columns = ["entry", "base", "new"]
        sides = [[row.environments[side] for row in findings.comparisons] for side in (0, 1)]
    else:
        columns = ["entry", "values"]
        sides = [[record["environment"] for one in findings.series for record in one.records]]
    rows = []
    for trait in wording.traits(*sides):
        mark = "differs" if trait.differs else ""
        rows.append([Cell(trait.name), *(Cell(_few(known), tone=mark) for known in trait.sides)])
    return Grid(columns, rows)


def _few(values: Sequence[str], most: int = 4) -> str:
    more = len(values) - most
    return "; ".join(values[:most]) + (f"; and {more} more" if more > 0 else "")


def _without_empty(grid: Grid) -> Grid:
    """The grid without the columns in which no row has a text."""
    kept = [index for index in range(len(grid.columns)) if any(row[index].text for row in grid.rows)]
    columns = [grid.columns[index] for index in kept]
    return replace(grid, columns=columns, rows=[[row[index] for index in kept] for row in grid.rows])
