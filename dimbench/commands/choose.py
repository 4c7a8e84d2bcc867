from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dimbench import verbs
from dimbench.commands import options
from dimbench.commands.emit import output_file, show_entries
from dimbench.errors import UsageError
from dimbench.report import choosing


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Model names or wildcards, or networks of your own, as in `dimbench flops`.",
            metavar="NAME...",
            autocompletion=options.begun,
            show_default="with --for, all that have a FID there",
        ),
    ] = None,
    beside: Annotated[
        str | None,
        typer.Option(
            help="The model that stands first, which the others are compared with.",
            autocompletion=options.begun,
            show_default="the first",
        ),
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="Only what has a published FID there: imagenet-256, celeba-hq-256, ...",
            metavar="DATA-SIDE",
            show_default="any",
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(help=f"The best first, by {', '.join(choosing.COLUMNS)}.", show_default="as they are named"),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Some of these, in this order, such as macs,seconds,fid.", show_default="all")
    ] = None,
    resolution: options.Resolution = None,
    set_: options.Settings = None,
    inputs: options.Inputs = None,
    device: Annotated[
        str | None, typer.Option(help="Times of this device: cpu or cuda.", show_default="that with most records")
    ] = None,
    dtype: Annotated[
        options.Dtype | None, typer.Option(help="Times in these numbers.", show_default="those with most records")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=options.MOST_IMAGES,
            help="Times of so many images per call.",
            show_default="those with most records",
        ),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure the times that are missing, as `dimbench bench` does.")
    ] = False,
    budget: options.BenchBudget = 60.0,
    records: Annotated[
        list[Path] | None,
        typer.Option(
            help="Record file with times; may be given again.",
            metavar="FILE",
            show_default="the shipped reference results and results/records.jsonl",
        ),
    ] = None,
    form: options.Format = options.Form.RICH,
    out: options.Out = None,
) -> None:
    """Set models side by side: parameters, multiply-adds, time, memory and published FID, and how many times the first.

    Times are those of records that are there; what nobody measured is called so.
    """
    wanted = dict.fromkeys(choosing.column(name, "--columns") for name in columns.split(",")) if columns else ()
    shown = tuple(wanted) or choosing.COLUMNS
    by = choosing.column(sort, "--sort") if sort else None
    if not names and not benchmark:
        raise UsageError("name the models to choose from, such as 'dit-*' udit-s; or give --for imagenet-256")
    found = verbs.choose(
        options.chosen(names or ["*"], set_), inputs=inputs or (), beside=beside, benchmark=benchmark,
        records=records, resolution=resolution,
        device=device, dtype=dtype.value if dtype else None, batch=batch, measure=measure, budget=budget,
        file=output_file(out) if measure else None,
    )  # fmt: skip
    if by:
        found = found.sorted(by, keep_first=beside is not None)
    show_entries(found.entries, [choosing.table(found, shown)], form)
