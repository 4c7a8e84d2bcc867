from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from dimbench import results
from dimbench.bench import job_shards, running, sweeps
from dimbench.bench.rows import Row
from dimbench.commands import options
from dimbench.commands.emit import output_file, show, show_rows
from dimbench.errors import UsageError
from dimbench.report import crossover, speed
from dimbench.report.tables import Table
from dimbench.results import Record

_UNITS = {"resolution": "px", "batch": "images"}


def run(
    name: Annotated[str | None, typer.Argument(help="A sweep; without it, the list of them.", metavar="SWEEP")] = None,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models in place of the sweep's.", autocompletion=options.begun, show_default="as the sweep says"
        ),
    ] = None,
    device: options.Device = "cpu",
    dtype: Annotated[
        options.Dtype | None, typer.Option(help="One type of numbers for all rows.", show_default="as the sweep says")
    ] = None,
    threads: options.Threads = None,
    steps: options.TimedSteps = None,
    sampler: options.Sampler = None,
    cfg: options.Guided = False,
    with_: options.With = None,
    guide: options.Guide = None,
    shard: options.Shard = "1/1",
    budget: options.BenchBudget = 60.0,
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Run a named plan of measurements; rows that are in the records file are not measured again."""
    if name is None:
        _list(form)
        return
    sweep = sweeps.find(name)
    given = {"dtype": dtype.value if dtype else None, "steps": steps, "sampler": sampler, "cfg": cfg or None}
    fixed = {
        "methods": options.methods(with_, guide),
        "device": device,
        "threads": threads,
        "budget": budget,
        **{name: value for name, value in given.items() if value is not None},
    }
    part = job_shards.parse(shard)
    possible = _possible(sweep.rows(models or None, **fixed))
    wanted = part.rows(possible)
    file = output_file(out)
    part.said_if_empty(possible, wanted, file)
    stored = results.so_far(file)
    device_name = running.device_name(device)
    missing = sweeps.missing(wanted, stored, device_name)
    if len(missing) < len(wanted):
        print(f"dimbench: {len(wanted) - len(missing)} of {len(wanted)} rows are in {file}", file=sys.stderr)
    ran = running.run(missing, file, sweep=sweep.name, **part.note([row.key for row in possible], wanted))
    found = [Record(**record) for record in sweeps.records_of(wanted, results.so_far(file), device_name)]
    if found:
        tables = [speed.table(found)]
        tables += crossover.tables(found, sweep.along, _UNITS[sweep.along]) if sweep.along else []
        show(found, tables, form)
    ran.raise_failures()


def _list(form: options.Form) -> None:
    rows = [(sweep.name, str(len(sweep.rows())), sweep.says) for sweep in sweeps.all_sweeps().values()]
    show_rows(Table(("sweep", "rows", "what it shows"), rows), form)


def _possible(rows: Sequence[Row]) -> list[Row]:
    """The rows without those that this device or the model has nothing for, which are named; UsageError if all are."""
    kept = []
    refused: dict[str, int] = {}
    for row in rows:
        try:
            running.check([row])
            kept.append(row)
        except UsageError as error:
            refused[str(error)] = refused.get(str(error), 0) + 1
    if not kept:
        raise UsageError(next(iter(refused)))
    for why, count in refused.items():
        print(f"dimbench: {count} of {len(rows)} rows left out: {why}", file=sys.stderr)
    return kept
