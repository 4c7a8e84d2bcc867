from __future__ import annotations

import json as json_module
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from dimbench.commands import options
from dimbench.commands.emit import table_format, writing
from dimbench.papers import claims
from dimbench.progress import track


def run(
    pattern: Annotated[
        str, typer.Argument(help="Only claims about models, or from tables, of this name or wildcard.")
    ] = "*",
    html: Annotated[
        Path | None, typer.Option(help="Also write a self-contained page here.", metavar="FILE", show_default="no page")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the claims as a JSON array and nothing else.")] = False,
    csv: options.Csv = False,
    markdown: options.Markdown = False,
) -> None:
    """Check every parameter count and GFLOPs figure that papers and surveys print against our own count.

    A figure agrees if our count gives it as it is printed, rounded or cut off, by the rule `macs` or by
    the rule its source counted by; then it is said how much that rule leaves out.
    """
    from dimbench.report import audit_page
    from dimbench.report import audit_table as audit

    form = table_format(json, csv, markdown)
    gathered = claims.gather(pattern)
    with writing(html, "--html") if html else nullcontext() as page:
        findings = claims.examine(track(gathered, "counting"))
        if page:
            page.write_text(audit_page.render(findings, _rules()), encoding="utf-8")
    if form == "json":
        typer.echo(json_module.dumps(audit.records(findings), indent=2))
        return
    for table in audit.tables(findings):
        table.show(form)


def _rules() -> dict[str, tuple[str, str]]:
    """What each rule counts and where it is from."""
    from dimbench.counting.rules import RULES

    return {rule.name: (rule.says, rule.source) for rule in RULES.values()}
