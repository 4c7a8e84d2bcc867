from __future__ import annotations

import json as json_module
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dimbench import presets
from dimbench.commands import options
from dimbench.commands.emit import table_format, writing
from dimbench.papers import claims, frame, said
from dimbench.progress import track


def run(
    pattern: Annotated[
        str, typer.Argument(help="Only claims about models, or from tables, of this name or wildcard.")
    ] = "*",
    tools: Annotated[
        bool,
        typer.Option(
            "--tools",
            help="Instead: run the counters that are installed on the models of that name, by default dit-xl2 and "
            "udit-b, and set their figures beside ours.",
        ),
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Also write a self-contained page here.", metavar="FILE", show_default="no page")
    ] = None,
    records: Annotated[
        list[Path] | None,
        typer.Option(
            help="Record file with speeds measured here; may be given again.",
            metavar="FILE",
            show_default="the shipped reference results and results/records.jsonl",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the claims as a JSON array and nothing else.")] = False,
    csv: options.Csv = False,
    markdown: options.Markdown = False,
) -> None:
    """Check what papers and surveys print of parameters, GFLOPs and speed, and what they say of them in sentences.

    A figure agrees if our count gives it as it is printed, rounded or cut off, by the rule `macs` or by
    the rule its source counted by; then it is said how much that rule leaves out.
    """
    from dimbench.report import audit_page, audit_sentences
    from dimbench.report import audit_table as audit

    form = table_format(json, csv, markdown)
    if tools:
        _tools(["dit-xl2", "udit-b"] if pattern == "*" else [pattern], form)
        return
    gathered = claims.gather(pattern)
    answered = [(sentence, sentence.check()) for sentence in said.sentences(pattern)]
    speeds, known = said.speeds(pattern), frame.known_records(records)
    with writing(html, "--html") if html else nullcontext() as page:
        findings = claims.examine(track(gathered, "counting"))
        if page:
            page.write_text(audit_page.render(findings, _rules(), answered, speeds, known), encoding="utf-8")
    if form == "json":
        typer.echo(
            json_module.dumps([*audit.records(findings), *audit_sentences.plain(answered, speeds, known)], indent=2)
        )
        return
    for table in audit.tables(findings):
        table.show(form)
    if answered:
        audit_sentences.table(answered).show(form)
    if speeds:
        audit_sentences.speeds(speeds, known).show(form)


def _tools(names: list[str], form: str) -> None:
    from dimbench.backbone import find
    from dimbench.counting import other_counters
    from dimbench.report import counters_beside

    here = other_counters.installed()
    absent = [name for name in other_counters.TOOLS if name not in here]
    for name in presets.chosen(names):
        found = other_counters.of_network(find(name))
        if form == "json":
            typer.echo(json_module.dumps([{"model": name, **asdict(each)} for each in found], indent=2))
        else:
            counters_beside.table(name, found, absent).show(form)


def _rules() -> dict[str, tuple[str, str]]:
    """What each rule counts and where it is from."""
    from dimbench.counting.rules import RULES

    return {rule.name: (rule.says, rule.source) for rule in RULES.values()}
