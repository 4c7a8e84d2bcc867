"""A paper's table as a pandas frame, and the records that stand beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimbench import paths, results
from dimbench.papers import printed as tables
from dimbench.papers.beside import Beside, Record, compare

if TYPE_CHECKING:
    import pandas


def known_records(files: Iterable[Path] | None = None) -> list[Record]:
    """The records of `files`, the newest last; where None, of the reference results shipped and of the user's own."""
    if files is None:
        own = paths.records_file()
        files = dict.fromkeys(file.resolve() for file in (*paths.reference_results(), own) if file.is_file())
    return sorted(
        (record for file in files for record in results.read(file)), key=lambda record: str(record["created"])
    )


def table(name: str) -> pandas.DataFrame:
    """The paper's table `name` beside our own numbers, counted now or from records; `dimbench table` lists the names.

    One row per row of the paper. Columns have two levels: the paper's heading, and below it "printed" (text), "paper",
    "ours", "difference" (a share) and "within" (the printed rounding); what is not measured is missing. Numbers are in
    the unit of the heading; `attrs` holds title, source and note.
    """
    return frame(compare(tables.find(name), known_records()))


def frame(comparison: Beside) -> pandas.DataFrame:
    """The comparison with two levels of columns."""
    import pandas

    columns: dict[tuple[str, str], list[Any]] = {}
    for index, column in enumerate(comparison.table.columns):
        entries = comparison.column(index)
        unit = column.quantity.unit
        columns[column.heading, "printed"] = [entry.printed for entry in entries]
        if column.counted or column.measured:
            columns[column.heading, "paper"] = [float(e.figure.value) / unit if e.figure else None for e in entries]
            columns[column.heading, "ours"] = [None if e.ours is None else e.ours / unit for e in entries]
            columns[column.heading, "difference"] = [entry.difference for entry in entries]
            columns[column.heading, "within"] = [entry.within for entry in entries]
    labels = pandas.Index([row.label for row, _ in comparison.rows], name="model")
    made = pandas.DataFrame(columns, index=labels)
    made.attrs = {name: getattr(comparison.table, name) for name in ("title", "source", "note")}
    return made
