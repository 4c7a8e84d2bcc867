from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from dimbench.commands import options
from dimbench.commands.emit import show_entries, writing
from dimbench.papers import claims
from dimbench.progress import track


def run(
    pattern: Annotated[
        str, typer.Argument(help="Only claims about models, or from tables, of this name or wildcard.")
    ] = "*",
    to: Annotated[
        Path | None,
        typer.Option(help="Also write a self-contained page here, .html.", metavar="FILE", show_default="no page"),
    ] = None,
    form: options.Format = options.Form.RICH,
) -> None:
    """Check every parameter count and GFLOPs figure that papers and surveys print against our own count.

    A figure agrees if our count gives it as it is printed, rounded or cut off, by the rule `macs` or by
    the rule its source counted by; then it is said how much that rule leaves out.
    """
    from dimbench.report import audit_page
    from dimbench.report import audit_table as audit

    gathered = claims.gather(pattern)
    with writing(to, "--to") if to else nullcontext() as page:
        findings = claims.examine(track(gathered, "counting"))
        if page:
            page.write_text(audit_page.render(findings, _rules()), encoding="utf-8")
    show_entries(lambda: audit.records(findings), audit.tables(findings), form)


def _rules() -> dict[str, tuple[str, str]]:
    """What each rule counts and where it is from."""
    from dimbench.counting.rules import RULES

    return {rule.name: (rule.says, rule.source) for rule in RULES.values()}
