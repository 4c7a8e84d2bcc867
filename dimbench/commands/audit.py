from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from dimbench import presets
from dimbench.commands import options
from dimbench.commands.emit import show_entries, writing
from dimbench.errors import UsageError
from dimbench.papers import claims, frame, said
from dimbench.progress import track


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Only claims about models, or from tables, of these names or wildcards.",
            metavar="[NAME...]",
            show_default="all",
        ),
    ] = None,
    tools: Annotated[
        bool,
        typer.Option(
            "--tools",
            help="Instead: run the counters that are installed on the models of that name, by default dit-xl2 and "
            "udit-b, and set their figures beside ours.",
        ),
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(help="Also write a self-contained page here, .html.", metavar="FILE", show_default="no page"),
    ] = None,
    records: Annotated[
        list[Path] | None,
        typer.Option(
            help="Record file with speeds measured here; may be given again.",
            metavar="FILE",
            show_default="the shipped reference results and results/records.jsonl",
        ),
    ] = None,
    form: options.Format = options.Form.RICH,
) -> None:
    """Check what papers and surveys print of parameters, GFLOPs, speed and savings, and what they say of them.

    A figure agrees if our count gives it as it is printed, rounded or cut off, by the rule `macs` or by
    the rule its source counted by; then it is said how much that rule leaves out.
    """
    from dimbench.report import audit_page, audit_sentences
    from dimbench.report import audit_table as audit

    if tools:
        if to or records:
            raise UsageError("--to and --records are for claims, which --tools leaves out; leave out them or it")
        _tools(names or ["dit-xl2", "udit-b"], form)
        return
    if to and to.suffix.lower() != ".html":
        raise UsageError(f"--to {to} is no page; give a name that ends in .html")
    wanted = names or []
    for name in wanted:
        if not any(kind(name) for kind in (claims.gather, said.sentences, said.speeds, said.savings)):
            raise UsageError(
                f"no claim matches {name!r}; give a model or table as `dimbench list` and `dimbench table` show them, "
                "or a wildcard"
            )
    gathered = claims.gather(*wanted)
    answered = [(sentence, sentence.check()) for sentence in said.sentences(*wanted)]
    speeds, savings, known = said.speeds(*wanted), said.savings(*wanted), frame.known_records(records)
    with writing(to, "--to") if to else nullcontext() as page:
        findings = claims.examine(track(gathered, "counting"))
        if page:
            page.write_text(audit_page.render(findings, _rules(), answered, speeds, savings, known), encoding="utf-8")
    tables = audit.tables(findings) if findings else []
    tables += [audit_sentences.table(answered)] if answered else []
    tables += [audit_sentences.speeds(speeds, known)] if speeds else []
    tables += [audit_sentences.savings(savings, known)] if savings else []
    plain = partial(audit_sentences.plain, answered, speeds, savings, known)
    show_entries(lambda: [*audit.records(findings), *plain()], tables, form)


def _tools(names: list[str], form: options.Form) -> None:
    from dimbench.backbone import find
    from dimbench.counting import other_counters
    from dimbench.report import counters_beside

    here = other_counters.installed()
    absent = [name for name in other_counters.TOOLS if name not in here]
    found = {name: other_counters.of_network(find(name)) for name in presets.chosen(names)}
    show_entries(
        lambda: [{"model": name, **asdict(each)} for name, counts in found.items() for each in counts],
        [counters_beside.table(name, counts, absent) for name, counts in found.items()],
        form,
    )


def _rules() -> dict[str, tuple[str, str]]:
    """What each rule counts and where it is from."""
    from dimbench.counting.rules import RULES

    return {rule.name: (rule.says, rule.source) for rule in RULES.values()}
