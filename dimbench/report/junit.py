"""A report as JUnit XML, which CI servers show: a suite for the comparisons and one per measuring command."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from dimbench import units
from dimbench.escaping import plain
from dimbench.report import grids as summary
from dimbench.report import metrics, wording
from dimbench.report.findings import Compared, Findings, History, Outcome

_TAGS = {
    Outcome.REGRESSION: "failure",
    Outcome.CHANGED: "failure",
    Outcome.LOST: "error",
    Outcome.UNCLEAR: "skipped",
}


def render(findings: Findings) -> str:
    """Regressions and changed exact metrics are failures, unclear rows skipped, rows without a result errors."""
    suites = {command: [_measured(one) for one in rows] for command, rows in findings.by_command().items()}
    if findings.comparisons:
        suites = {"compare": [_compared(row) for row in findings.comparisons], **suites}
    root = Element("testsuites", {"name": "dimbench", **_counts([case for cases in suites.values() for case in cases])})
    for name, cases in suites.items():
        SubElement(root, "testsuite", {"name": plain(name), **_counts(cases)}).extend(cases)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _compared(row: Compared) -> Element:
    case = _case(row.model, f"{metrics.label(row.metric)} ({wording.words(row.conditions)})")
    if tag := _TAGS.get(row.outcome):
        said = summary.words(row)
        SubElement(case, tag, message=plain(said[0]), type=row.outcome).text = plain("\n".join(said))
    return case


def _measured(series: History) -> Element:
    case = _case(series.model, f"{series.command} ({wording.words(series.conditions)})")
    if not series.measured:
        said = "; ".join(map(str, series.latest.get("warnings", ()))) or units.NOT_MEASURED
        SubElement(case, "error", message=plain(said), type=units.NOT_MEASURED)
    return case


def _case(model: str, name: str) -> Element:
    return Element("testcase", classname=plain(model), name=plain(name))


def _counts(cases: list[Element]) -> dict[str, str]:
    tags = [child.tag for case in cases for child in case]
    counts = {"tests": len(cases), "failures": tags.count("failure"), "errors": tags.count("error")}
    return {name: str(number) for name, number in {**counts, "skipped": tags.count("skipped")}.items()}
