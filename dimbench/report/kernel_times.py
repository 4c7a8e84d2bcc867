"""Tables of how long operators take, from `kernels` records."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dimbench import units
from dimbench.report.tables import Table
from dimbench.results import Record

COLUMNS = ("operator", "L", "by", "seconds", "95 % interval", "times the first", "its 95 % interval", "per token")


def timings(records: Sequence[Record]) -> Table:
    """One row per backend and floor; the first of each operator and length is what the others are compared with."""
    rows = []
    for record in records:
        metrics, here = record.metrics, record.conditions
        first = here["kernel"] == here["base"]
        rows.append(
            (
                record.model,
                units.exact(here["length"]),
                here["kernel"],
                units.seconds(metrics["seconds"] or 0),
                _interval(metrics["seconds_low"], metrics["seconds_high"], units.seconds),
                units.rate(1 if first else metrics["ratio"] or 0),
                "" if first else _interval(metrics["ratio_low"], metrics["ratio_high"], units.rate),
                units.seconds(metrics["seconds_per_token"] or 0),
            )
        )
    return Table(COLUMNS, rows, notes=_notes(records[0], {row[2] for row in rows}), said_once=COLUMNS[:2])


def _interval(low: float | None, high: float | None, text: Callable[[float], str]) -> str:
    return units.NOT_MEASURED if low is None or high is None else units.between(low, high, text)


def _notes(record: Record, shown: set[str]) -> list[str]:
    here = record.conditions
    threads = "1 thread" if here["threads"] == 1 else f"{here['threads']} threads"
    place = here["device_name"] or f"{here['device']} with {threads}"
    notes = [
        f"{here['pass'].capitalize()} pass, batch {here['batch']}, E {here['channels']}, N {here['states']}, "
        f"{here['dtype']}, on {place}: medians of {here['rounds']} rounds in which all take turns.",
        "torch.copy moves as many bytes as the operator has to read and write.",
    ]
    if "torch.exp" in shown:
        notes.append("torch.exp takes the exponentials of B x L x E x N floats, as many as a scan has decays.")
    return notes
