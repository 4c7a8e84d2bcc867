from __future__ import annotations

import json as json_module
from dataclasses import asdict
from typing import Annotated

import typer

from dimbench import doctor
from dimbench.commands import options
from dimbench.report.tables import Table

_MARKS = {"good": "yes", "mind": "mind", "missing": "NO"}


def run(
    wanted: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            help="Only whether this runs here, such as fid:dit-xl2; exit with 1 if not. May be given again.",
            metavar="COMMAND:NAME",
            show_default="everything",
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Say what runs on this machine, what is missing, and the line that mends it; nothing is measured or changed."""
    found = [each for text in wanted for each in doctor.asked_for(text)] if wanted else doctor.examine()
    if json:
        typer.echo(json_module.dumps([asdict(each) for each in found], indent=2))
    else:
        _show(found)
    if wanted and any(each.health is doctor.Health.MISSING for each in found):
        raise typer.Exit(1)


def _show(found: list[doctor.Symptom]) -> None:
    """A table for each part."""
    parts = dict.fromkeys(each.part for each in found)
    for part in parts:
        rows = [(each.what, _MARKS[each.health], each.says, each.fix) for each in found if each.part == part]
        Table((part, "well", "what is there", "what helps"), rows, first_out=("what is there",)).show()
    typer.echo("mind: it runs, with what stands beside it; NO: it cannot.")
