"""The tables that papers print: presets/tables/*.toml read into records. Standard library only."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
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
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    shared: dict[str, Any] = {
        name: content[name] for name in ("rule", "params_rule", "second_hand", "why") if name in content
    }
    conditions = content.get("conditions", {})
    columns = tuple(Column(heading, name) for heading, name in content["columns"].items())
    rows = tuple(_row(row, shared, conditions) for row in content["rows"])
    table = PaperTable(
        file.stem, content["title"], content["source"], content.get("survey", False), content.get("note", ""),
        columns, rows,
    )  # fmt: skip
    _check(table, file)
    return table


def _row(row: Mapping[str, Any], shared: Mapping[str, Any], conditions: Mapping[str, Any]) -> PrintedRow:
    own = {**conditions, **row.get("conditions", {})}
    plain = {name: value for name, value in row.items() if name not in ("cells", "conditions")}
    return PrintedRow(
        **{**shared, **plain}, cells=tuple(row["cells"]), resolution=own.get("resolution", 0), conditions=own
    )


def _check(table: PaperTable, file: Path) -> None:
    if unknown := [column.name for column in table.columns if column.name not in QUANTITIES]:
        raise DimbenchError(f"{file}: no quantity is called {unknown[0]!r}; known are {', '.join(QUANTITIES)}")
    for row in table.rows:
        if len(row.cells) != len(table.columns):
            raise DimbenchError(
                f"{file}: {row.label} has {len(row.cells)} cells for {len(table.columns)} columns; give one each"
            )
        if row.model and row.model not in presets.all_presets():
            raise DimbenchError(f"{file}: {row.label} names no model of dimbench: {row.model!r}; see `dimbench list`")


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """A key that puts udit-2 before udit-10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in name.split("-"))
