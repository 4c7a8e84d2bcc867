from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from enum import StrEnum
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dimbench import paths
from dimbench.errors import DimbenchError, UsageError, reason
from dimbench.files import replacing
from dimbench.progress import doing
from dimbench.record_places import read_all

if TYPE_CHECKING:
    from dimbench.report.findings import Findings


MOST_BYTES = 2**20 - 1  # of a step's summary, beyond which GitHub shows none of it
_BY_SUFFIX = {
    ".md": "markdown", ".markdown": "markdown", ".xml": "junit", ".html": "html", ".tex": "latex", ".csv": "csv",
    ".json": "json",
}  # fmt: skip


class ReportFormat(StrEnum):
    MARKDOWN = "markdown"
    HTML = "html"
    RICH = "rich"
    CSV = "csv"
    LATEX = "latex"
    JSON = "json"
    JUNIT = "junit"
    GITHUB_BENCHMARK = "github-benchmark"
    BENCHER = "bencher"


_TABLES = (ReportFormat.RICH, ReportFormat.CSV, ReportFormat.LATEX)


class Over(StrEnum):
    COMMITS = "commits"
    VERSIONS = "versions"


def run(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Record files (.jsonl) of any commands, folders of such, or BRANCH:PATH of either in this repository.",
            metavar="FILE...",
            show_default=False,
        ),
    ],
    format: Annotated[
        ReportFormat | None,
        typer.Option(
            help="Markdown for a pull request; one HTML page; the tables alone (rich, csv, latex), the records (json); "
            "JUnit XML; JSON of github-action-benchmark (customSmallerIsBetter) or Bencher.",
            show_default="by the ending of --to, such as .md, .html or .xml; else Markdown",
        ),
    ] = None,
    over: Annotated[
        Over | None,
        typer.Option(
            help="Draw what each command measures first, and counts that changed, over commits or versions, and mark "
            "where it came to another level; as Markdown or HTML.",
            show_default="no history",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="With --over: these metrics instead; may be given again.", show_default="as --over says"),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="File for the report.", metavar="FILE", show_default="standard output")
    ] = None,
) -> None:
    """Say in a minute what records hold: verdicts, measurements, environments that differ.

    Markdown is appended to $GITHUB_STEP_SUMMARY too, where that is set.
    """
    from dimbench.report import findings

    if to and (to.suffix == ".jsonl" or str(to) in files):
        raise UsageError(f"--to {to} names records, which a report would overwrite; give a name such as report.md")
    format = format or _by_suffix(to)
    if metric and over is None:
        raise UsageError(f"--metric {metric[0]} is drawn over commits or versions; give --over commits with it")
    render = _renderer(format) if over is None else _over(over, format, metric or [])
    records = _read(files)
    if to is None and over is None and format in _TABLES:
        _show(findings.gather(records), format)
        return
    with doing("making the report"):
        as_records = over is None and format is ReportFormat.JSON
        text = f"{json.dumps(records, indent=2)}\n" if as_records else render(findings.gather(records))
    if to is None:
        typer.echo(text, nl=False)
    else:
        _write(to, text)
    if format is ReportFormat.MARKDOWN and (summary := paths.step_summary()):
        _append(summary, text)


def _by_suffix(to: Path | None) -> ReportFormat:
    suffix = to.suffix.lower() if to else ""
    if suffix and suffix not in _BY_SUFFIX:
        raise UsageError(f"--to {to} ends in none of {', '.join(_BY_SUFFIX)}; give one of them, or --format")
    return ReportFormat(_BY_SUFFIX.get(suffix, "markdown"))


def _renderer(format: ReportFormat) -> Callable[[Findings], str]:
    """Only what the format needs is imported."""
    match format:
        case ReportFormat.MARKDOWN:
            from dimbench.report import markdown

            return markdown.render
        case ReportFormat.JUNIT:
            from dimbench.report import junit

            return junit.render
        case ReportFormat.HTML:
            from dimbench.report import dashboard

            return dashboard.render
    if format in _TABLES:
        return partial(_as_tables, form=format)
    from dimbench.report import trackers

    return trackers.bencher if format is ReportFormat.BENCHER else trackers.github_benchmark


def _as_tables(findings: Findings, form: str) -> str:
    text = StringIO()
    with redirect_stdout(text):
        _show(findings, form)
    return text.getvalue()


def _show(findings: Findings, form: str) -> None:
    """The tables on stdout, as wide as it is."""
    from dimbench.report import grids, tables

    tables.show(grids.tables(findings), form)


def _over(over: Over, format: ReportFormat, chosen: list[str]) -> Callable[[Findings], str]:
    from dimbench.report import over_time

    forms = {ReportFormat.MARKDOWN: over_time.markdown, ReportFormat.HTML: over_time.page}
    if format not in forms:
        raise UsageError(f"--over {over} is drawn as markdown or html, not as {format}; give one of them")
    return partial(forms[format], over=over.value, chosen=chosen)


def _read(files: list[str]) -> list[dict[str, Any]]:
    """The records of all files; one without any is named on stderr."""
    found = read_all(files)
    if not any(found.values()):
        raise DimbenchError(f"no records in {', '.join(files)}; give .jsonl files that measuring commands wrote")
    for file in (file for file, records in found.items() if not records):
        typer.echo(f"{file}: no records", err=True)
    return [record for records in found.values() for record in records]


def _write(file: Path, text: str) -> None:
    try:
        with replacing(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DimbenchError(f"cannot write to {file} ({reason(error)}); give another file with --to") from None


def _append(file: Path, text: str) -> None:
    from dimbench.report import markdown

    try:
        with file.open("a", encoding="utf-8") as summary:
            written = summary.tell()  # at its end
            summary.write(markdown.within(text, max(0, MOST_BYTES - written)))
    except OSError as error:
        raise DimbenchError(
            f"cannot append to {file} ({reason(error)}), which GITHUB_STEP_SUMMARY names; unset it or name a file"
        ) from None
