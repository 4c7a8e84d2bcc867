from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

import typer

from dimbench import doctor
from dimbench.commands import options
from dimbench.commands.emit import show_entries
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
    form: options.Format = options.Form.RICH,
) -> None:
    """Say what runs on this machine, what is missing, and the line that mends it; nothing is measured or changed."""
    found = doctor.asked_for(wanted) if wanted else doctor.examine()
    show_entries(lambda: [asdict(each) for each in found], _tables(found), form)
    if wanted and any(each.health is doctor.Health.MISSING for each in found):
        raise typer.Exit(1)


def _tables(found: list[doctor.Symptom]) -> list[Table]:
    """One for each part."""
    tables = []
    for part in dict.fromkeys(each.part for each in found):
        rows = [(each.what, _MARKS[each.health], each.says, each.fix) for each in found if each.part == part]
        tables.append(Table((part, "well", "what is there", "what helps"), rows, first_out=("what is there",)))
    note = "mind: it runs, with what stands beside it; NO: it cannot."
    return [*tables[:-1], replace(tables[-1], notes=(note,))]
