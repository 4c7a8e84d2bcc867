"""The audit as one HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from statistics import fmean
from typing import Any

from markupsafe import Markup

from dimbench import units
from dimbench.papers.claims import SURVEYS, Finding
from dimbench.papers.printed import PARAMETERS
from dimbench.papers.saved_claims import SavedClaim
from dimbench.papers.sentences import Holds
from dimbench.papers.speed_claims import SpeedClaim
from dimbench.papers.verdicts import VerdictKind
from dimbench.report import audit_sentences, html
from dimbench.report import audit_table as audit
from dimbench.report.audit_sentences import Answered
from dimbench.report.html import Section
from dimbench.report.tables import Cell

# Symbol, tone and short words: told apart without colour too.
LOOK = {
    VerdictKind.AGREES: ("●", "good", "agrees"),
    VerdictKind.OWN_RULE: ("◆", "warn", "agrees under its own rule"),
    VerdictKind.DIFFERS: ("▲", "bad", "does not agree"),
    VerdictKind.UNCHECKABLE: ("○", "soft", "not checkable here"),
}
TONES = {Holds.YES: "good", Holds.CONDITIONS: "warn", Holds.UNMEASURED: "soft", Holds.UNKNOWN: "soft"}  # else bad
_FACTOR = 4  # the axis reaches from a quarter of our count to four times it
_TICKS = {0.25: "¼", 0.5: "½", 1.0: "our count", 2.0: "twice", 4.0: "4 times"}
_APART = 4.0  # per cent of the axis; marks that would lie nearer become one
_NOTABLE = 0.01  # share of our count from which on a rule's omission is worth a row
_COLUMNS = ("model", "verdict", "claimed", "our count", "by its rule", "its rule", "px", "printed in")


@dataclass(frozen=True)
class ClaimMark:
    """Claims of one verdict at one place of the axis, `left` in per cent; `says` names them."""

    left: float
    says: tuple[str, ...]


def render(
    findings: Sequence[Finding],
    rules: Mapping[str, tuple[str, str]],
    answered: Answered = (),
    speeds: Sequence[SpeedClaim] = (),
    savings: Sequence[SavedClaim] = (),
    records: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page; `rules` gives what each rule counts and where it is from, `records` what was measured here."""
    sections = [Section("Claimed figures beside our count", _strips(findings))]
    if notable := [f for f in findings if _gflops_left_out(f) >= _NOTABLE]:
        sections.append(Section("What the papers' own rules leave out", _omissions(notable)))
    sections += [Section(name, _table(found)) for name, found in audit.by_family(findings)]
    if answered:
        sections.append(Section("What surveys say in sentences", _sentences(answered)))
    if speeds:
        body = html.table(audit_sentences.SPEEDS, audit_sentences.speed_rows(speeds, records))
        sections.append(Section("Speeds", body))
    if savings:
        body = html.table(audit_sentences.SAVINGS, audit_sentences.saving_rows(savings, records))
        sections.append(Section("What methods save", body))
    sections.append(Section("The rules", _rules(findings, rules)))
    sections.append(Section("How to read this page", html.paragraphs(_method(findings))))
    return html.page(
        "Audit: do published parameter counts and GFLOPs hold?",
        sections,
        lead=audit.outcome(findings),
        data=[*audit.records(findings), *audit_sentences.plain(answered, speeds, savings, records)],
    )


def _strips(findings: Sequence[Finding]) -> Markup:
    """One axis per paper with a lane for each verdict, its claims marked on it, and the verdicts counted."""
    strips = []
    for name, found in audit.by_family(findings):
        kinds = {kind: [finding for finding in found if finding.verdict.kind is kind] for kind in VerdictKind}
        lanes = [(*LOOK[kind], _marks(alike)) for kind, alike in kinds.items() if alike and alike[0].ours]
        counts = [(*LOOK[kind], len(alike)) for kind, alike in kinds.items() if alike]
        strips.append({"name": name.partition(":")[0], "lanes": lanes, "counts": counts})
    ticks = [(_position(ratio), label) for ratio, label in _TICKS.items()]
    return html.fragment("audit.html", strips=strips, ticks=ticks, look=list(LOOK.values()))


def _marks(found: Sequence[Finding]) -> list[ClaimMark]:
    """Marks from the left to the right; a claim that lies near the middle of the last mark becomes part of it."""
    placed = sorted(((_position(float(f.claim.figure.value) / (f.ours or 1)), f) for f in found), key=itemgetter(0))
    groups: list[list[tuple[float, Finding]]] = []
    for place, finding in placed:
        if not groups or place - fmean(place for place, _ in groups[-1]) > _APART:
            groups.append([])
        groups[-1].append((place, finding))
    return [
        ClaimMark(
            fmean(place for place, _ in group),
            tuple(f"{f.claim.label}: {audit.claimed(f.claim)}, {f.verdict}" for _, f in group),
        )
        for group in groups
    ]


def _position(ratio: float) -> float:
    """Where a ratio stands on the logarithmic axis, in per cent of its length."""
    share = (math.log(ratio, _FACTOR) + 1) / 2
    return 100 * min(1.0, max(0.0, share))


def _gflops_left_out(finding: Finding) -> float:
    return (finding.verdict.left_out or 0) if finding.claim.quantity == "gflops" else 0


def _omissions(notable: Sequence[Finding]) -> Markup:
    rows: list[list[str | Cell]] = []
    for finding in sorted(notable, key=_gflops_left_out, reverse=True):
        claim, share = finding.claim, _gflops_left_out(finding)
        bar = Markup('<span class="audit-bar"><i style="width:{:.1f}%"></i></span>').format(100 * (1 - share))
        rows.append([
            audit.label(claim), Cell(units.per_cent(share), share, "warn"), Cell(bar, str(1 - share)),
            Cell(audit.claimed(claim), float(claim.figure.value)), Cell(audit.count(claim, finding.ours), finding.ours),
            claim.rule, Cell(str(claim.row.resolution), claim.row.resolution),
        ])  # fmt: skip
    columns = ("model", "left out", "share that is counted", "claimed", "our MACs (G)", "its rule", "px")
    return html.table(columns, rows)


def _table(found: Sequence[Finding]) -> Markup:
    survey = found[0].claim.family == SURVEYS
    columns = (*_COLUMNS[:3], "the paper itself", *_COLUMNS[3:]) if survey else _COLUMNS
    rows: list[list[str | Cell]] = []
    for finding in found:
        claim, verdict = finding.claim, finding.verdict
        symbol, tone, short = LOOK[verdict.kind]
        cells: list[str | Cell] = [
            Cell(audit.label(claim), hint=claim.row.second_hand and f"Second-hand: {claim.row.second_hand}"),
            Cell(
                f"{symbol} {_short(finding) or short}",
                str([*VerdictKind].index(verdict.kind)),
                tone,
                hint=str(verdict),
            ),
            Cell(audit.claimed(claim), float(claim.figure.value)),
            *([Cell(claim.original or "-")] if survey else []),
            Cell(audit.count(claim, finding.ours), finding.ours, "" if finding.ours else "soft"),
            Cell(audit.count(claim, finding.own), finding.own, "" if finding.own else "soft"),
            claim.rule if finding.ours else "-",
            Cell(str(claim.row.resolution), claim.row.resolution),
            ", ".join(audit.places(claim)),
        ]
        rows.append(cells)
    return html.table(columns, rows, filtered=len(rows) > 12)


def _sentences(answered: Answered) -> Markup:
    rows: list[list[str | Cell]] = []
    for (_, answer), texts in zip(answered, audit_sentences.rows(answered), strict=True):
        tone = TONES.get(answer.verdict, "bad")
        rows.append([Cell(text, tone=tone if text == answer.verdict else "") for text in texts])
    summary = html.paragraphs([audit_sentences.outcome(answered)])
    return summary + html.table(audit_sentences.COLUMNS, rows, filtered=len(rows) > 12)


def _short(finding: Finding) -> str:
    """The verdict in a few words, for a cell."""
    verdict = finding.verdict
    if verdict.kind is VerdictKind.OWN_RULE and verdict.left_out is not None:
        verb = "leaves out" if verdict.left_out > 0 else "adds"
        return f"own rule {verb} {units.per_cent(abs(verdict.left_out))}"
    if verdict.kind is VerdictKind.UNCHECKABLE:
        return f"not checkable: {verdict.why}"
    if verdict.kind is VerdictKind.DIFFERS:
        return str(verdict).removeprefix(f"{verdict.kind}: ")
    return f"agrees, {verdict.how}" if verdict.kind is VerdictKind.AGREES and verdict.how != "rounded" else ""


def _rules(findings: Sequence[Finding], rules: Mapping[str, tuple[str, str]]) -> Markup:
    used = {"macs"} | {finding.claim.rule for finding in findings}
    known = {**{name: (f"of parameters: {says}", "") for name, says in PARAMETERS.items()}, **rules}
    shown = [(name, *text) for name, text in known.items() if name in used]
    return html.fragment("audit_rules.html", rules=shown)


def _method(findings: Sequence[Finding]) -> list[str]:
    lines = [
        "Our count is of the network as dimbench builds it, operator by operator, for one image: parameters that take "
        "a gradient, and multiply-adds by the rule macs. By its rule: the same network, counted as its source counted.",
        "A figure agrees if our count gives it as it is printed: rounded, cut off after the last digit, or, for whole "
        "numbers that end in 0, rounded to tens; the verdict says so where it is not plain rounding. Verdicts are "
        "computed; none is written by hand.",
        "These papers call multiply-adds GFLOPs. FLOPs in the other sense of the word are twice as many.",
        "Made by: dimbench audit --html FILE.",
    ]
    if any(finding.claim.row.second_hand for finding in findings):
        lines.insert(3, "† second-hand: its source was not open to us; point at the name to see whose figure it is.")
    return lines
