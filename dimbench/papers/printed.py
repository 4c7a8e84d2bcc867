"""The tables that papers print: presets/tables/*.toml read into records. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dimbench import names, preset_files, presets
from dimbench.errors import DimbenchError
from dimbench.papers import figures
from dimbench.papers.figures import Figure


@dataclass(frozen=True)
class Quantity:
    """What a column holds. `unit` is what its figures count in; `command` is the one whose records measure it, under
    the name `metric` (`inverse`: as its reciprocal); "": it is counted, or a setting that nothing can check."""

    unit: int = 1
    command: str = ""
    metric: str = ""
    inverse: bool = False

    def of(self, metrics: Mapping[str, float | None]) -> float | None:
        """The quantity in a record's metrics, in plain units."""
        number = metrics.get(self.metric)
        return 1 / number if self.inverse and number else number


QUANTITIES = {
    "params": Quantity(unit=10**6),
    "gflops": Quantity(unit=10**9),
    "fid": Quantity(command="fid", metric="fid"),
    "sfid": Quantity(command="fid", metric="sfid"),
    "is": Quantity(command="fid", metric="is_mean"),
    "precision": Quantity(command="fid", metric="precision"),
    "recall": Quantity(command="fid", metric="recall"),
    "images_per_second": Quantity(command="bench", metric="images_per_second"),
    "steps_per_second": Quantity(command="bench", metric="seconds", inverse=True),
    "memory": Quantity(unit=10**9, command="bench", metric="peak_bytes"),
    "seconds_per_image": Quantity(command="bench", metric="seconds"),
    "setting": Quantity(),
}
COUNTED = ("params", "gflops")

# Which parameters a source means, by the names that counting.Count.params_by knows.
PARAMETERS = {
    "trained": "all that take a gradient in training",
    "merged": "those left at inference, after branches are merged",
    "all": "all, with the fixed position table",
}


@dataclass(frozen=True)
class Column:
    """`heading` as printed; `name` is one of QUANTITIES."""

    heading: str
    name: str

    @property
    def quantity(self) -> Quantity:
        return QUANTITIES[self.name]

    @property
    def counted(self) -> bool:
        return self.name in COUNTED

    @property
    def measured(self) -> bool:
        return bool(self.quantity.command)


@dataclass(frozen=True, kw_only=True)
class PrintedRow:
    """One line as printed. `model` is our preset ("": none here, and `why` says why nothing is counted); `rule` and
    `params_rule` name how its source counted; `conditions` what its figures hold under, in the words of a record;
    `checkpoint` the published file of these weights; `second_hand` whom the figures come from, if not the source."""

    label: str
    cells: tuple[str, ...]
    model: str = ""
    resolution: int
    rule: str = "macs"
    params_rule: str = "trained"
    conditions: Mapping[str, Any]
    checkpoint: str = ""
    second_hand: str = ""
    why: str = "no such network in dimbench"


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper, or of a survey (`survey`: its figures are claims about other people's work)."""

    name: str
    title: str
    source: str
    survey: bool
    note: str
    columns: tuple[Column, ...]
    rows: tuple[PrintedRow, ...]

    def figure(self, row: PrintedRow, index: int) -> Figure | None:
        """The figure in the row's cell of that column; None where nothing, or no single number, is printed."""
        return figures.read(row.cells[index], self.columns[index].quantity.unit)

    def printed(self, row: PrintedRow, name: str) -> str:
        """What the row prints in the first column of that quantity; "" where there is none."""
        return next((cell for column, cell in zip(self.columns, row.cells, strict=True) if column.name == name), "")


@cache
def all_tables() -> dict[str, PaperTable]:
    """Every table by name, in alphabetical order with numbers in theirs; surveys last."""
    tables = [_read(file) for file in preset_files.files("tables")]
    return {table.name: table for table in sorted(tables, key=lambda table: (table.survey, _natural(table.name)))}


def find(name: str) -> PaperTable:
    """The table called `name`, case and separators forgiven. UsageError names what is near."""
    return names.find(name, all_tables(), "table", "see `dimbench table`")


def _read(file: Path) -> PaperTable:
    content = preset_files.load(file)
    if faults := list(_faults(content)):
        raise DimbenchError(f"{file} is no table: {'; '.join(faults)}; mend it there")
    shared: dict[str, Any] = {
        name: content[name] for name in ("rule", "params_rule", "second_hand", "why") if name in content
    }
    conditions = content.get("conditions", {})
    columns = tuple(Column(heading, name) for heading, name in content["columns"].items())
    rows = tuple(_row(row, shared, conditions) for row in content["rows"])
    return PaperTable(
        file.stem, content["title"], content["source"], content.get("survey", False), content.get("note", ""),
        columns, rows,
    )  # fmt: skip


def _row(row: Mapping[str, Any], shared: Mapping[str, Any], conditions: Mapping[str, Any]) -> PrintedRow:
    own = {**conditions, **row.get("conditions", {})}
    plain = {name: value for name, value in row.items() if name not in ("cells", "conditions")}
    return PrintedRow(
        **{**shared, **plain}, cells=tuple(row["cells"]), resolution=own.get("resolution", 0), conditions=own
    )


_NEEDED = {"title": str, "source": str, "columns": dict, "rows": list}
_SHARED = {"rule": str, "params_rule": str, "second_hand": str, "why": str, "conditions": dict}
_TABLE = {**_NEEDED, **_SHARED, "survey": bool, "note": str}
_ROW = {"label": str, "cells": list, **_SHARED, "model": str, "checkpoint": str}


def _faults(table: Mapping[str, Any]) -> Iterator[str]:
    yield from preset_files.mistyped(table, _TABLE, "")
    yield from (f"it has no {name}" for name in _NEEDED if name not in table)
    columns, rows = table.get("columns"), table.get("rows")
    for name in columns.values() if isinstance(columns, dict) else ():
        if name not in QUANTITIES:
            yield f"no quantity is called {name!r} (known are {', '.join(QUANTITIES)})"
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, dict):
            yield "rows holds something that is no table"
            continue
        where = f"row {row.get('label', '')}: "
        yield from preset_files.mistyped(row, _ROW, where)
        yield from (f"{where}it has no {name}" for name in ("label", "cells") if name not in row)
        cells, model = row.get("cells"), row.get("model")
        if isinstance(cells, list) and not all(isinstance(cell, str) for cell in cells):
            yield f"{where}cells holds something that is no text"
        elif isinstance(cells, list) and isinstance(columns, dict) and len(cells) != len(columns):
            yield f"{where}it has {len(cells)} cells for {len(columns)} columns"
        if isinstance(model, str) and model and model not in presets.all_presets():
            yield f"{where}it names no model of dimbench: {model!r} (see `dimbench list`)"


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """A key that puts udit-2 before udit-10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in name.split("-"))
