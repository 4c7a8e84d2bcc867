from __future__ import annotations

from typing import Annotated

import typer

from dimbench import presets, units, verbs
from dimbench.commands import options
from dimbench.commands.emit import emit, output_file
from dimbench.presets import Preset
from dimbench.report import bills
from dimbench.report.tables import Table
from dimbench.report.trees import tree
from dimbench.results import Record


def run(
    names: options.Names,
    resolution: options.Resolution = None,
    set_: options.Settings = None,
    inputs: options.Inputs = None,
    frames: options.Frames = None,
    fetch: options.Fetch = False,
    breakdown: Annotated[bool, typer.Option("--breakdown", help="Show the tree of modules with their shares.")] = False,
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Count parameters, without loading any weights."""
    chosen = options.chosen(names, set_, fetch)
    file = output_file(out)
    records = verbs.parameters(chosen, inputs or (), resolution=resolution, frames=frames, modules=breakdown)
    columns = ("model", "px", "parameters", "of these dead", "fixed besides", "at inference", "paper prints")
    rows = [_row(presets.of(name), record) for name, record in zip(chosen, records, strict=True)]
    notes = (
        "parameters take a gradient in training; dead: no output depends on them; fixed: tables that take none; at "
        "inference: parameters after branches are merged, where a family has any.",
    )
    tables = [Table(columns, rows, notes=notes), *(_tree(record) for record in records if breakdown)]
    emit(records, tables, file, form)


def _tree(record: Record) -> Table:
    entries = [(path, "its own", number) for path, number in record.details["modules"]]
    rows = [(name, many, units.exact(number), share) for name, many, number, share in tree(record.model, entries)]
    return Table(("module", "times", "parameters", "share"), rows)


def _row(preset: Preset | None, record: Record) -> tuple[str, ...]:
    claims = preset.claims_at(record.conditions) if preset and preset.name == record.model else ()
    claimed = [claim.params for claim in claims if claim.params]
    names = ("params", "params_dead", "params_fixed", "params_inference")
    numbers = (int(record.metrics[name] or 0) for name in names)
    return (record.model, bills.size(record), *map(units.exact, numbers), ", ".join(claimed) or "nothing")
