from __future__ import annotations

from dimbench import presets, units
from dimbench.commands import options
from dimbench.commands.emit import emit, output_file, table_format, track
from dimbench.presets import Preset
from dimbench.report.tables import Table
from dimbench.results import Record


def run(
    names: options.Names,
    resolution: options.Resolution = None,
    json: options.Json = False,
    csv: options.Csv = False,
    markdown: options.Markdown = False,
    out: options.Out = None,
) -> None:
    """Count parameters, without loading any weights."""
    form = table_format(json, csv, markdown)
    chosen = presets.match(names)
    file = output_file(out)
    records = [_count(preset, resolution) for preset in track(chosen, "counting")]
    columns = ("model", "px", "parameters", "of these dead", "fixed besides", "paper prints")
    rows = [_row(preset, record) for preset, record in zip(chosen, records, strict=True)]
    notes = ("parameters take a gradient in training; dead: no output depends on them; fixed: tables that take none.",)
    emit(records, [Table(columns, rows, notes=notes)], file, form)


def _count(preset: Preset, resolution: int | None) -> Record:
    from dimbench import registry
    from dimbench.measure import params
    from dimbench.measure.shapes import shapes_only

    with shapes_only():
        model = registry.build(preset, resolution)
    conditions = {"resolution": resolution or preset.resolution}
    return Record("params", preset.name, conditions, params.count(model))


def _row(preset: Preset, record: Record) -> tuple[str, ...]:
    resolution = record.conditions["resolution"]
    claimed = [claim.params for claim in preset.claims if claim.resolution == resolution and claim.params]
    numbers = (int(record.metrics[name] or 0) for name in ("params", "params_dead", "params_fixed"))
    return (preset.name, str(resolution), *map(units.exact, numbers), ", ".join(claimed) or "nothing")
