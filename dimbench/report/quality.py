"""Tables of image quality, from `fid` records: what was measured under unlike protocols never shares a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dimbench.conditions import PROTOCOL
from dimbench.quality.protocol import METRICS, protocol
from dimbench.report.tables import Table
from dimbench.results import Record

CLAIMS = {"fid": "fid", "sfid": "sfid", "is": "is_mean", "precision": "precision", "recall": "recall"}
OPTIONAL = {"sfid", "precision_vgg", "recall_vgg"}  # most extractors have no spatial features, VGG is seldom at hand


def label(metric: str, conditions: Mapping[str, Any]) -> str:
    """ "fid" -> "FID-50,000", with the number of images it was computed from."""
    return METRICS[metric].format(n=_count(conditions.get("num_images")))


def side_by_side(records: Sequence[Record]) -> Table:
    """One column for each record, so for each protocol and network, one row for each metric; FIDs of unlike numbers of
    images stand in unlike rows. What a paper claims follows its record."""
    columns = [""]
    cells: dict[str, list[str]] = {}
    for record in records:
        _fill(cells, len(columns), _measured(record))
        columns.append(_heading(record, records))
        if claims := record.details.get("claims"):
            _fill(cells, len(columns), _claimed(claims))
            columns.append("claimed")
    rows = [[name, *(row + [""] * len(columns))[: len(columns) - 1]] for name, row in cells.items()]
    return Table(columns, _in_order(rows), notes=notes(records))


def repeated(records: Sequence[Record], summary: Record) -> Table:
    """The records of several seeds, then mean, spread (standard deviation of the sample) and minimum of FID."""
    table = side_by_side(records)
    n = label("fid", summary.conditions)
    figures = [_number(summary.metrics[f"fid_{name}"]) for name in ("mean", "spread", "minimum")]
    times = len(records)
    rows = [[*row, *(figures if row[0] == n else [""] * 3)] for row in table.rows]
    columns = (*table.columns, f"mean of {times}", f"spread of {times}", f"minimum of {times}")
    return Table(columns, rows, notes=table.notes)


def notes(records: Sequence[Record]) -> list[str]:
    """What the figures were compared with, in what their protocols differ, and the warnings."""
    said = [
        f"Compared with {c['reference']}, {_count(c['reference_images'])} images, by the features of {c['extractor']}."
        for c in (record.conditions for record in records)
    ]
    differing = [n for n in PROTOCOL if len({str(r.conditions.get(n)) for r in records}) > 1]
    if differing == ["seed"]:
        said.append("The protocols differ in their seed alone.")
    elif differing:
        said.append(f"The protocols differ in {', '.join(differing)}: figures of unlike protocols do not compare.")
    said += [warning for record in records for warning in record.warnings]
    return list(dict.fromkeys(said))


def _measured(record: Record) -> dict[str, str]:
    names = [name for name in METRICS if name in record.metrics or name not in OPTIONAL]
    found = {label(name, record.conditions): _number(record.metrics.get(name)) for name in names}
    return {**found, "protocol": protocol(record.conditions)}


def _claimed(claims: Mapping[str, str]) -> dict[str, str]:
    """Published figures are of 50,000 images."""
    return {METRICS[CLAIMS[name]].format(n="50,000"): figure for name, figure in claims.items()}


def _heading(record: Record, among: Sequence[Record]) -> str:
    same = sum(other.model == record.model for other in among) > 1
    return f"{record.model}, seed {record.conditions.get('seed')}" if same else record.model


def _fill(cells: dict[str, list[str]], column: int, figures: Mapping[str, str]) -> None:
    for name, figure in figures.items():
        row = cells.setdefault(name, [])
        row += [""] * (column - 1 - len(row)) + [figure]


def _in_order(rows: list[list[str]]) -> list[list[str]]:
    """FIDs first, the protocol last, whatever record brought a row."""
    order = [name.format(n="") for name in METRICS.values()]
    return sorted(
        rows, key=lambda row: next((k for k, name in enumerate(order) if row[0].startswith(name)), len(order))
    )


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _count(n: int | None) -> str:
    return "an unknown number of" if n is None else f"{n:,}"
