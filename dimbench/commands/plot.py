from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dimbench import image_size, names, paths
from dimbench.commands import options
from dimbench.commands.emit import show_rows, writing
from dimbench.errors import UsageError
from dimbench.report import gallery
from dimbench.report.tables import Table


class CostOf(StrEnum):
    PASS = "pass"
    IMAGE = "image"
    SECONDS = "seconds"


class Measure(StrEnum):
    FID = "fid"
    DRIFT = "drift"


ENDINGS = ("png", "svg", "pdf")
COSTS = (
    (gallery.gflops_fid, CostOf.PASS),
    (gallery.gflops_fid, CostOf.IMAGE),
    (gallery.frontier, CostOf.IMAGE),
    (gallery.frontier, CostOf.SECONDS),
)


def run(
    name: Annotated[
        str | None, typer.Argument(help="The plot, such as gflops-fid; without one, list them.", show_default=False)
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Only these models: names or wildcards, or networks of your own, as in `dimbench flops`.",
            metavar="MODEL",
            autocompletion=options.begun,
            show_default="all it has",
        ),
    ] = None,
    set_: options.Settings = None,
    inputs: options.Inputs = None,
    to: Annotated[
        Path | None,
        typer.Option(
            help="The picture, .png, .svg or .pdf.",
            metavar="FILE",
            show_default="NAME.png in ./results or the user's own folder",
        ),
    ] = None,
    resolution: options.Resolution = None,
    cost: Annotated[
        CostOf | None,
        typer.Option(
            help="Of gflops-fid: one pass, or a whole image with all its steps, guidance and decoding. Of frontier: an "
            "image's multiply-adds, or its seconds.",
            show_default="pass; of frontier, image",
        ),
    ] = None,
    against: Annotated[
        Measure | None,
        typer.Option(help="Of frontier: FID, or how far samples drift from the plain run's.", show_default="fid"),
    ] = None,
    records: Annotated[
        list[Path] | None,
        typer.Option(
            help="Record file with times of ours; may be given again.",
            metavar="FILE",
            show_default="the shipped reference results and results/records.jsonl",
        ),
    ] = None,
    form: options.Format = options.Form.RICH,
) -> None:
    """Draw costs, times and published FIDs."""
    if name is None:
        rows = [(known, " ".join((draw.__doc__ or "").split())) for known, draw in gallery.PLOTS.items()]
        show_rows(Table(("name", "what"), rows, notes=("`dimbench plot NAME --to FILE.png` draws one.",)), form)
        return
    name, draw = names.find(name, {each: (each, draw) for each, draw in gallery.PLOTS.items()}, "plot")
    if cost and (draw, cost) not in COSTS:
        raise UsageError(f"--cost {cost} is no choice of {name}; leave it out")
    if against and draw is not gallery.frontier:
        raise UsageError(f"--against {against} is a choice of frontier, and {name} was asked for; leave it out")
    file = to or paths.results_folder() / f"{name}.png"
    ending = file.suffix.removeprefix(".").lower()
    if ending not in ENDINGS:
        raise UsageError(f"--to {file} ends in none of .{', .'.join(ENDINGS)}; give one of them")
    if not models and (set_ or inputs):
        raise UsageError("--set and --input are of models that are named; name them, or leave the options out")
    if files := [model for model in models or () if model.endswith(".jsonl")]:
        raise UsageError(f"{files[0]} is a file of records where models are named; give --records {files[0]}")
    height, width = image_size.sides(resolution or 256)
    if height != width:
        raise UsageError(f"--resolution {resolution} is no square, and a plot is of squares; give one side")
    chosen = options.chosen(models, set_) if models else []
    with writing(file, "--to") as temporary:
        asked = gallery.Asked(chosen, height, records, cost or "", against or "fid", inputs or ())
        draw(asked, temporary, ending)
    typer.echo(f"{file}", err=True)
