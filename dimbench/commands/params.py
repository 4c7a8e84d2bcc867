from __future__ import annotations

from typing import Annotated

import typer

from dimbench import presets, units
from dimbench.commands import options
from dimbench.commands.emit import emit, output_file, table_format
from dimbench.presets import Preset
from dimbench.progress import track
from dimbench.report.tables import Table
from dimbench.report.trees import tree
from dimbench.results import Record


def run(
    names: options.Names,
    resolution: options.Resolution = None,
    breakdown: Annotated[bool, typer.Option("--breakdown", help="Show the tree of modules with their shares.")] = False,
    json: options.Json = False,
    csv: options.Csv = False,
    markdown: options.Markdown = False,
    out: options.Out = None,
) -> None:
    """Count parameters, without loading any weights."""
    form = table_format(json, csv, markdown)
    chosen = presets.match(names)
    file = output_file(out)
    records = [_count(preset, resolution, breakdown) for preset in track(chosen, "counting")]
    columns = ("model", "px", "parameters", "of these dead", "fixed besides", "at inference", "paper prints")
    rows = [_row(preset, record) for preset, record in zip(chosen, records, strict=True)]
    notes = (
        "parameters take a gradient in training; dead: no output depends on them; fixed: tables that take none; at "
        "inference: parameters after branches are merged, where a family has any.",
    )
    tables = [Table(columns, rows, notes=notes), *(_tree(record) for record in records if breakdown)]
    emit(records, tables, file, form)


def _count(preset: Preset, resolution: int | None, breakdown: bool) -> Record:
    from dimbench.counting import costs as counting
    from dimbench.counting import parameters as params

    conditions = {"resolution": resolution or preset.resolution}
    model, running = counting.networks(preset, conditions["resolution"])
    metrics = {**params.count(model), "params_inference": params.count(running)["params"]}
    details = {"modules": params.by_module(model)} if breakdown else {}
    return Record("params", preset.name, conditions, metrics, details=details)


def _tree(record: Record) -> Table:
    entries = [(path, "its own", number) for path, number in record.details["modules"]]
    rows = [(name, many, units.exact(number), share) for name, many, number, share in tree(record.model, entries)]
    return Table(("module", "times", "parameters", "share"), rows)


def _row(preset: Preset, record: Record) -> tuple[str, ...]:
    resolution = record.conditions["resolution"]
    claimed = [claim.params for claim in preset.claims if claim.resolution == resolution and claim.params]
    names = ("params", "params_dead", "params_fixed", "params_inference")
    numbers = (int(record.metrics[name] or 0) for name in names)
    return (preset.name, str(resolution), *map(units.exact, numbers), ", ".join(claimed) or "nothing")
