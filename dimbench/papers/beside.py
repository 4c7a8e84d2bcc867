"""A paper's table beside our own numbers: counted now, or measured in records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dimbench.conditions import STATED
from dimbench.counting import kept
from dimbench.counting.summed import TRAINED
from dimbench.papers.figures import Figure
from dimbench.papers.printed import Column, PaperTable, PrintedRow
from dimbench.papers.verdicts import ClaimVerdict, judge, uncheckable

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Judged:
    """A cell: what is printed, and our number in plain units, None where there is none; of a GFLOPs figure by the rule
    of its source, with `macs` by our own. `verdict` is given for what is counted."""

    column: Column
    printed: str
    figure: Figure | None = None
    ours: float | None = None
    macs: int | None = None
    verdict: ClaimVerdict | None = None

    @property
    def difference(self) -> float | None:
        """How far ours lies above the printed figure, as a share of it."""
        if self.figure is None or self.ours is None or not self.figure.value:
            return None
        return self.ours / float(self.figure.value) - 1

    @property
    def within(self) -> bool | None:
        """Whether ours gives the printed figure, rounded or cut off; None where there is nothing to compare."""
        if self.figure is None or self.ours is None:
            return None
        return bool(self.figure.reading(self.ours))


@dataclass(frozen=True)
class Beside:
    """Entries by row, in the order of the table."""

    table: PaperTable
    rows: tuple[tuple[PrintedRow, tuple[Judged, ...]], ...]

    def column(self, index: int) -> list[Judged]:
        return [entries[index] for _, entries in self.rows]


def compare(table: PaperTable, records: Sequence[Record], rows: Iterable[PrintedRow] | None = None) -> Beside:
    """Every figure of `table` beside ours; `rows` are its rows, perhaps behind a progress bar."""
    entries = tuple(
        (row, tuple(_entry(table, row, index, records) for index in range(len(table.columns))))
        for row in (table.rows if rows is None else rows)
    )
    return Beside(table, entries)


def counted(figure: Figure, quantity: str, row: PrintedRow) -> tuple[int, int, ClaimVerdict]:
    """Our count of a figure, the count by its source's rule, and the verdict on it."""
    count = kept.sums(row.model, row.resolution)
    if quantity == "params":
        ours, own = count.params_by(TRAINED), count.params_by(row.params_rule)
    else:
        ours, own = count.macs("macs"), count.macs(row.rule)
    return ours, own, judge(figure, ours, own)


def _entry(table: PaperTable, row: PrintedRow, index: int, records: Sequence[Record]) -> Judged:
    column, printed = table.columns[index], row.cells[index]
    figure = table.figure(row, index)
    if column.measured:
        return Judged(column, printed, figure, measured(records, row, column, table.printed(row, "fid")))
    if not column.counted or figure is None:
        return Judged(column, printed, figure)
    if not row.model:
        return Judged(column, printed, figure, verdict=uncheckable(row.why))
    ours, own, verdict = counted(figure, column.name, row)
    return Judged(column, printed, figure, own, ours if column.name == "gflops" else None, verdict)


def measured(records: Sequence[Record], row: PrintedRow, column: Column, fid: str = "") -> float | None:
    """What the newest record says of the same model under the same conditions; `fid` is what the row prints as FID."""
    fitting = [record for record in _of_the_model(records, row, column) if _same_conditions(record, row, fid)]
    return column.quantity.of(fitting[-1]["metrics"]) if fitting else None


def elsewhere(comparison: Beside, records: Sequence[Record]) -> list[tuple[str, Column, Record]]:
    """Records of a table's models and quantities under other conditions, so that none of its cells may hold them."""
    found: dict[int, tuple[str, Column, Record]] = {}
    for row, entries in comparison.rows:
        for entry in entries:
            for record in _of_the_model(records, row, entry.column):
                if not _same_conditions(record, row, comparison.table.printed(row, "fid")):
                    found.setdefault(id(record), (row.model, entry.column, record))
    return list(found.values())


def _of_the_model(records: Sequence[Record], row: PrintedRow, column: Column) -> list[Record]:
    quantity = column.quantity
    return [
        record
        for record in records
        if row.model
        and (record["command"], record["model"]) == (quantity.command, row.model)
        and quantity.of(record["metrics"]) is not None
        and not (record["command"] == "fid" and record["conditions"].get("weights") == "random")
    ]


def _same_conditions(record: Record, row: PrintedRow, fid: str) -> bool:
    """Whether all that the table states is what the record was taken under.

    A FID belongs to weights. A record that followed a recipe belongs to the rows that print the FID the recipe repeats;
    any other to rows that name their published file, for which its weights are taken.
    """
    taken, stated = record["conditions"], row.conditions
    decide = STATED[record["command"]]
    if record["command"] == "fid":
        if claimed := record.get("details", {}).get("claims", {}).get("fid"):
            decide = ("resolution", "num_images")
            if claimed != fid:
                return False
        elif not row.checkpoint:
            return False
    return all(_same(taken.get(name), stated[name]) for name in decide if name in stated)


def _same(taken: Any, stated: Any) -> bool:
    """Equal; of names, such as a device's, whether all stated words are there."""
    if isinstance(stated, str) and isinstance(taken, str):
        return all(word in taken.lower() for word in stated.lower().split())
    return taken == stated
