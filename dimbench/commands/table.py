from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dimbench.papers import frame
from dimbench.papers import printed as tables
from dimbench.papers.beside import Beside, compare, elsewhere
from dimbench.progress import track
from dimbench.report.tables import Table


class TableFormat(StrEnum):
    RICH = "rich"
    MARKDOWN = "markdown"
    CSV = "csv"
    LATEX = "latex"
    HTML = "html"
    JSON = "json"


def run(
    name: Annotated[
        str | None, typer.Argument(help="The table, such as dit-4; without one, list them.", show_default=False)
    ] = None,
    format: Annotated[
        TableFormat, typer.Option(help="For a terminal, Markdown, CSV, LaTeX (booktabs), an HTML page, or JSON.")
    ] = TableFormat.RICH,
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
        if format is TableFormat.JSON:
            typer.echo(json.dumps([{"name": t.name, "title": t.title, "source": t.source} for t in listed], indent=2))
        else:
            _print(paper_tables.listing(listed), format)
        return
    wanted = tables.find(name)
    known = frame.known_records(records)
    comparison = compare(wanted, known, track(wanted.rows, "counting"))
    if format is TableFormat.JSON:
        typer.echo(json.dumps(paper_tables.entries(comparison), indent=2))
    else:
        _print(paper_tables.render(comparison, _rules(comparison), elsewhere(comparison, known)), format)


def _rules(comparison: Beside) -> dict[str, str]:
    """What the rules of the counted rows count, in words."""
    used = {row.rule for row, entries in comparison.rows if any(entry.macs is not None for entry in entries)}
    if not used:
        return {}
    from dimbench.counting.rules import RULES

    return {name: rule.says for name, rule in RULES.items() if name in used | {"macs"}}


def _print(table: Table, format: TableFormat) -> None:
    from dimbench.report import html, latex

    if format is TableFormat.LATEX:
        typer.echo(latex.latex(table))
    elif format is TableFormat.HTML:
        body = html.table(table.columns, table.rows) + html.paragraphs(table.notes)
        typer.echo(html.page(table.title or "Tables of papers", [html.Section("", body)]))
    else:
        table.show(format.value)
