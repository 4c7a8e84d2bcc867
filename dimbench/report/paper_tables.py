"""A paper's table with our numbers beside it, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dimbench import units
from dimbench.papers.beside import Beside, Judged, Record
from dimbench.papers.printed import PARAMETERS, Column, PaperTable, PrintedRow
from dimbench.report.tables import Table
from dimbench.units import NOTHING

OUTSIDE = "!"
SECOND_HAND = "†"


def listing(tables: Sequence[PaperTable]) -> Table:
    """Which tables there are."""
    rows = [(table.name, str(len(table.rows)), table.title, table.source.partition(";")[0]) for table in tables]
    return Table(("name", "rows", "what", "printed in"), rows, notes=("`dimbench table NAME` shows one.",))


def render(comparison: Beside, rules: Mapping[str, str], unlike: Sequence[tuple[str, Column, Record]]) -> Table:
    """The table as printed, each column with ours beside it where there is any; `rules` says what each rule counts,
    `unlike` holds records that its conditions leave out."""
    table = comparison.table
    headings, cells = ["model"], [[_label(row)] for row, _ in comparison.rows]
    for index, column in enumerate(table.columns):
        entries = comparison.column(index)
        extra = _beside(column, entries, [row for row, _ in comparison.rows])
        for name, texts in {column.heading: [entry.printed or NOTHING for entry in entries], **extra}.items():
            headings.append(name)
            for row, text in zip(cells, texts, strict=True):
                row.append(text)
    title = f"{table.name}: {table.title}"
    return Table(headings, cells, title=title, notes=_notes(comparison, rules, unlike))


def entries(comparison: Beside) -> list[dict[str, Any]]:
    """One plain record per printed figure, numbers in plain units."""
    return [
        {
            "table": comparison.table.name,
            "row": row.label,
            "model": row.model or None,
            "conditions": dict(row.conditions),
            "second_hand": row.second_hand or None,
            "heading": entry.column.heading,
            "quantity": entry.column.name,
            "printed": entry.printed,
            "paper": float(entry.figure.value) if entry.figure else None,
            "ours": entry.ours,
            "macs": entry.macs,
            "rule": row.rule if entry.column.name == "gflops" else None,
            "difference": entry.difference,
            "within": entry.within,
            "verdict": str(entry.verdict) if entry.verdict else None,
        }
        for row, found in comparison.rows
        for entry in found
        if entry.printed
    ]


def _label(row: PrintedRow) -> str:
    return f"{row.label} {SECOND_HAND}" if row.second_hand else row.label


def _beside(column: Column, entries: Sequence[Judged], rows: Sequence[PrintedRow]) -> dict[str, list[str]]:
    """Our columns beside one of the paper; none where not one of its figures has a number of ours."""
    if all(entry.ours is None for entry in entries):
        return {}
    short = column.heading.partition(" (")[0]
    ours, difference = [_ours(entry) for entry in entries], [_difference(entry) for entry in entries]
    if column.name != "gflops":
        return {f"{short} ours": ours, f"{short} diff": difference}
    rules = [row.rule if entry.ours is not None else NOTHING for row, entry in zip(rows, entries, strict=True)]
    used = set(rules) - {NOTHING}
    by_rule = {f"by {used.pop()}": ours} if len(used) == 1 else {"by its rule": ours, "its rule": rules}
    macs = [NOTHING if entry.macs is None else units.decimal(entry.macs / 1e9, ",.2f") for entry in entries]
    return {**by_rule, f"{short} diff": difference, "MACs (G)": macs}


def _ours(entry: Judged) -> str:
    if entry.figure is None:
        return NOTHING
    if entry.ours is None:
        return "not checkable" if entry.verdict else units.NOT_MEASURED
    return entry.figure.like(entry.ours)


def _difference(entry: Judged) -> str:
    if entry.difference is None:
        return NOTHING
    said = f"{100 * entry.difference:+z.2f} %" + ("" if entry.within else f" {OUTSIDE}")
    return units.Amount(said, entry.difference, units.SHARE)


def _notes(comparison: Beside, rules: Mapping[str, str], unlike: Sequence[tuple[str, Column, Record]]) -> list[str]:
    table = comparison.table
    found = [entry for _, row in comparison.rows for entry in row]
    notes = [f"Source: {table.source}.", *([table.note] if table.note else [])]
    reasons: dict[str, list[str]] = {}
    for row in table.rows:
        if row.second_hand:
            reasons.setdefault(row.second_hand, []).append(row.label)
    for reason, labels in reasons.items():
        of = "" if len(labels) == len(table.rows) else f" ({', '.join(labels)})"
        notes.append(f"{SECOND_HAND} second-hand{of}: {reason}.")
    notes += [f"Rule {name}: {says}." for name, says in rules.items()]
    meant = {row.params_rule for row, entries in comparison.rows if any(e.column.name == "params" for e in entries)}
    notes += [f"Parameters: {PARAMETERS[rule]}." for rule in sorted(meant - {"trained"})]
    if any(entry.within is False for entry in found):
        notes.append(f"{OUTSIDE} outside the printed rounding, whether figures were rounded or cut off.")
    notes += _without_ours(comparison)
    notes += [_elsewhere(*entry) for entry in unlike]
    return notes


def _without_ours(comparison: Beside) -> list[str]:
    """Which columns have no number of ours, and why."""
    columns = [(column, comparison.column(index)) for index, column in enumerate(comparison.table.columns)]
    silent = [
        (column, entries)
        for column, entries in columns
        if any(entry.figure for entry in entries) and all(entry.ours is None for entry in entries)
    ]
    notes = []
    if measured := {column.heading: column for column, _ in silent if column.measured}:
        commands = " and ".join(f"`dimbench {name}`" for name in dict.fromkeys(
            column.quantity.command for column in measured.values()))  # fmt: skip
        notes.append(f"{', '.join(measured)}: {units.NOT_MEASURED} under these conditions; {commands} would.")
    for column, entries in silent:
        if reasons := dict.fromkeys(entry.verdict.why for entry in entries if entry.verdict):
            notes.append(f"{column.heading}: not checkable here, {'; '.join(reasons)}.")
    return notes


def _elsewhere(model: str, column: Column, record: Record) -> str:
    quantity = column.quantity
    shown = ("device_name", "dtype", "batch", "sampler", "steps", "cfg", "num_images", "extractor")
    conditions = ", ".join(f"{name} {record['conditions'][name]}" for name in shown if name in record["conditions"])
    value = (quantity.of(record["metrics"]) or 0) / quantity.unit
    return f"Under other conditions, so not compared: {model} {column.heading} {value:.4g} ({conditions})."
