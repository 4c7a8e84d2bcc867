from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dimbench.commands import options
from dimbench.commands.emit import show_entries
from dimbench.papers import frame
from dimbench.papers import printed as tables
from dimbench.papers.beside import Beside, compare, elsewhere
from dimbench.progress import track


def run(
    name: Annotated[
        str | None, typer.Argument(help="The table, such as dit-4; without one, list them.", show_default=False)
    ] = None,
    form: options.Format = options.Form.RICH,
    records: Annotated[
        list[Path] | None,
        typer.Option(
            help="Record file with timed and evaluated numbers of ours; may be given again.",
            metavar="FILE",
            show_default="the shipped reference results and results/records.jsonl",
        ),
    ] = None,
) -> None:
    """Show a paper's table with our own numbers beside it: counted now, timed and evaluated from records."""
    from dimbench.report import paper_tables

    if name is None:
        listed = list(tables.all_tables().values())
        show_entries(
            lambda: [{"name": t.name, "title": t.title, "source": t.source} for t in listed],
            [paper_tables.listing(listed)],
            form,
        )
        return
    wanted = tables.find(name)
    known = frame.known_records(records)
    comparison = compare(wanted, known, track(wanted.rows, "counting"))
    shown = paper_tables.render(comparison, _rules(comparison), elsewhere(comparison, known))
    show_entries(lambda: paper_tables.entries(comparison), [shown], form)


def _rules(comparison: Beside) -> dict[str, str]:
    """What the rules of the counted rows count, in words."""
    used = {row.rule for row, entries in comparison.rows if any(entry.macs is not None for entry in entries)}
    if not used:
        return {}
    from dimbench.counting.rules import RULES

    return {name: rule.says for name, rule in RULES.items() if name in used | {"macs"}}
