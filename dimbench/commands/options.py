"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Names = Annotated[
    list[str], typer.Argument(help="Model names or wildcards, as `dimbench list` shows them.", metavar="NAME...")
]
Resolution = Annotated[
    int | None,
    typer.Option(help="Side of the images in pixels.", show_default="the model's own, 256 for published models"),
]


def _force(context: typer.Context, kernel: str | None) -> str | None:
    """Until the command ends."""
    if kernel is not None:
        from dimbench.kernels import backends

        context.with_resource(backends.use(kernel))
        backends.check(kernel)
    return kernel


Kernel = Annotated[
    str | None,
    typer.Option(
        callback=_force,
        help="Backend for every operator that has it, as `dimbench kernels` lists them; an error where it cannot run.",
        show_default="each operator's first that can run",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the records as a JSON array and nothing else.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")]
Out = Annotated[
    Path | None,
    typer.Option(help="File the records are appended to, JSON lines.", show_default="results/records.jsonl"),
]
Rounds = Annotated[
    int, typer.Option(min=3, help="Rounds at first; in each, both sides run once in a fresh process of their own.")
]
RoundBudget = Annotated[float, typer.Option(min=0.1, help="Seconds that bench may measure per process (its --budget).")]
ForBench = Annotated[
    str, typer.Option("--bench", help="Options of bench for both sides, such as '--batch 8'.", show_default="none")
]
OrderSeed = Annotated[int, typer.Option(help="Seed of the order in which the two sides run.")]
