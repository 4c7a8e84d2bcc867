"""A report as Markdown for a pull request: the verdict, then what a reviewer may ask, then the rest folded away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from dimbench import units
from dimbench.escaping import markdown as escape
from dimbench.report import grids as summary
from dimbench.report import metrics
from dimbench.report.findings import GRAVE, Compared, Findings, Outcome
from dimbench.report.grids import Grid
from dimbench.report.tables import Table

OPEN_ROWS = 20  # a longer table is folded
MOST_ROWS = 200  # of a folded one: a comment holds 65,536 characters


def render(findings: Findings) -> str:
    """The whole report, ending in a newline."""
    blocks = [f"**{findings.verdict()[0]}**", *_comparisons(findings), *_measurements(findings), *_rest(findings)]
    return "\n\n".join(blocks) + "\n"


def _comparisons(findings: Findings) -> list[str]:
    decided = findings.having(*GRAVE, Outcome.UNCLEAR, Outcome.BETTER)
    same, equal = findings.having(Outcome.SAME), findings.having(Outcome.EQUAL)
    blocks = [_grid(summary.compared(decided))] if decided else []
    if same:
        blocks.append(_folded(f"Same ({len(same)})", _grid(summary.compared(same))))
    if equal:
        blocks.append(_folded(f"Exact metrics unchanged ({len(equal)})", _unchanged(equal)))
    return blocks


def _unchanged(rows: Sequence[Compared]) -> str:
    """The models that share the same unchanged metrics in one line."""
    names: dict[str, dict[str, None]] = {}
    for row in rows:
        names.setdefault(row.model, {})[metrics.label(row.metric)] = None
    alike: dict[str, list[str]] = {}
    for model, unchanged in names.items():
        alike.setdefault(", ".join(unchanged), []).append(model)
    return "\n".join(f"- {escape(unchanged)}: {escape(', '.join(models))}" for unchanged, models in alike.items())


def _measurements(findings: Findings) -> list[str]:
    blocks = []
    for grid in summary.measured(findings):
        title = f"Measured by {grid.title}"
        if len(grid.rows) <= OPEN_ROWS:
            blocks.append(f"#### {escape(title)}\n\n{_grid(grid)}")
        else:
            blocks.append(_folded(f"{title} ({len(grid.rows)})", _grid(grid)))
    return blocks


def _rest(findings: Findings) -> list[str]:
    blocks = []
    environment = summary.environment(findings)
    differing = [row for row in environment.rows if row[-1].tone]
    if differing:
        title = "Environments differ" if findings.comparisons else "Environments of the records differ"
        blocks.append(f"#### {title}\n\n{_grid(Grid(environment.columns, differing))}")
    equal = [row for row in environment.rows if not row[-1].tone]
    if equal:
        same = Grid(["entry", "value"], [row[:2] for row in equal])
        blocks.append(_folded("Environment", _grid(same)))
    warnings = findings.warnings()
    if warnings:
        blocks.append(_folded(f"Warnings ({len(warnings)})", _warnings(warnings)))
    return blocks


def _grid(grid: Grid) -> str:
    rows = [[cell.text for cell in row] for row in grid.rows[:MOST_ROWS]]
    notes = [f"Conditions, where they apply: {grid.note}."] if grid.note else []
    if len(grid.rows) > MOST_ROWS:
        notes.append(f"{len(grid.rows) - MOST_ROWS} more rows are left out here; --format html shows them.")
    return Table(grid.columns, rows, notes=notes).markdown()


def _warnings(warnings: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(f"- {escape(_named(models))}: {escape(text)}" for text, models in warnings.items())


def _named(models: Sequence[str]) -> str:
    more = [f"{len(models) - OPEN_ROWS:,} more"] if len(models) > OPEN_ROWS else []
    return ", ".join([*models[:OPEN_ROWS], *more])


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>\n\n{body}\n\n</details>"


def _fitting(block: str, most: int) -> str:
    """The block where it has at most so many bytes, of a table the rows that do, else nothing."""
    if len(block.encode()) <= most:
        return block
    sizes = accumulate(len(line.encode()) + 1 for line in block.splitlines())
    rows = sum(size <= most for size in sizes)
    return "\n".join(block.splitlines()[:rows]) if block.startswith("|") and rows > 2 else ""


def within(text: str, most: int) -> str:
    """The report where it has at most so many bytes, else its first blocks, and a line that says so."""
    if len(text.encode()) <= most:
        return text
    room = most - 300  # for what is said of it
    if room < 0:
        return ""
    kept: list[str] = []
    for block in text.split("\n\n"):
        fitting = _fitting(block, room - 2)
        room -= len(fitting.encode()) + 2
        kept += [fitting] if fitting else []
        if fitting != block:
            break
    whole = "\n\n".join(kept)
    said = f"**Cut here: this report has {units.size(len(text.encode()))}, and {units.size(len(whole.encode()))} are "
    said += "shown.** `dimbench report FILE... --to report.md` writes all of it."
    unclosed = whole.count("<details>") - whole.count("</details>")
    return "\n\n".join([whole, *["</details>"] * unclosed, said]) + "\n"
