"""What an audit found: as tables, as plain records, and as a page of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from dimbench import presets, units
from dimbench.papers.claims import SURVEYS, Claimed, Finding, printed_by
from dimbench.papers.verdicts import VerdictKind
from dimbench.report.tables import Table

UNITS = {"params": "params", "gflops": "GFLOPs"}
COLUMNS = ("model", "px", "claimed", "our count", "its rule", "by its rule", "verdict", "printed in")
FIRST_OUT = ("printed in", "its rule", "by its rule", "px")


def outcome(findings: Sequence[Finding]) -> str:
    """The audit in one sentence."""
    kinds = Counter(finding.verdict.kind for finding in findings)
    many = {
        VerdictKind.AGREES: "agree with our count",
        VerdictKind.OWN_RULE: "agree under the rule their source counted by",
        VerdictKind.DIFFERS: "do not agree",
        VerdictKind.UNCHECKABLE: "are not checkable here",
    }
    parts = [f"{kinds[kind]} {words}" for kind, words in many.items() if kinds[kind]]
    claims = f"{len(findings)} claimed figures" if len(findings) != 1 else "1 claimed figure"
    return f"Of {claims}, {', '.join(parts)}."


def by_family(findings: Sequence[Finding]) -> list[tuple[str, list[Finding]]]:
    """The findings of each paper, in the order given, under its title."""
    grouped = groupby(findings, key=lambda finding: finding.claim.family)
    return [(title(family), list(found)) for family, found in grouped]


def title(family: str) -> str:
    """A family and its paper: "DiT: Peebles & Xie, ..."; or what surveys are."""
    papers = {preset.family: preset.paper for preset in presets.all_presets().values()}
    if family == SURVEYS:
        return "Surveys: figures about other people's networks"
    return f"{printed_by(family)}: {papers[family]}" if family in papers else family


def tables(findings: Sequence[Finding]) -> list[Table]:
    """A summary, then one table per paper."""
    details = [
        Table(COLUMNS, [row(f) for f in found], name, first_out=FIRST_OUT) for name, found in by_family(findings)
    ]
    return [summary(findings), *details]


def summary(findings: Sequence[Finding]) -> Table:
    """How many claims of each paper met which verdict, and what its rule leaves out at most."""
    rows = []
    for name, found in by_family(findings):
        kinds = Counter(finding.verdict.kind for finding in found)
        counts = [str(kinds[kind]) for kind in VerdictKind]
        rows.append((name.partition(":")[0], str(len(found)), *counts, _left_out(found), _furthest(found)))
    notes = [outcome(findings), "Left out: the most that a GFLOPs figure of that source leaves out of our MACs."]
    if any(finding.claim.row.second_hand for finding in findings):
        notes.append("† second-hand: its source was not open to us; `dimbench table NAME` says whose figure it is.")
    columns = ("printed by", "claims", *VerdictKind, "left out", "furthest off")
    return Table(columns, rows, notes=notes, first_out=("furthest off", "left out"))


def _left_out(found: Iterable[Finding]) -> str:
    shares = [f.verdict.left_out or 0 for f in found if f.claim.quantity == "gflops"]
    most = max(shares, default=0)
    return units.share(most, 1) if most > 0 else "nothing"


def _furthest(found: Iterable[Finding]) -> str:
    """The figure that lies furthest from our count, among those that do not agree."""
    differing = [f.verdict for f in found if f.verdict.off is not None]
    furthest = max(differing, key=lambda verdict: abs(math.log1p(verdict.off or 0)), default=None)
    return str(furthest).removeprefix(f"{VerdictKind.DIFFERS}: ") if furthest else units.NOTHING


def row(finding: Finding) -> tuple[str, ...]:
    """One claim as text, under COLUMNS."""
    claim = finding.claim
    return (
        label(claim), str(claim.row.resolution), claimed(claim), count(claim, finding.ours), claim.rule,
        count(claim, finding.own), f"{finding.verdict}", ", ".join(places(claim)),
    )  # fmt: skip


def label(claim: Claimed) -> str:
    return f"{claim.label} †" if claim.row.second_hand else claim.label


def claimed(claim: Claimed) -> str:
    """The figure as printed, with its unit: "675M params", "118.64 GFLOPs"."""
    printed = claim.figure.printed
    plain = claim.quantity == "params" and printed[-1].isdigit()
    said = f"{printed}{'M' if plain else ''} {UNITS[claim.quantity]}"
    return units.Amount(said, float(claim.figure.value), UNITS[claim.quantity].removeprefix("G"))


def count(claim: Claimed, number: int | None) -> str:
    """Our number in the claim's notation."""
    if number is None:
        return units.NOTHING
    shown = claim.figure.like(number)
    return units.Amount(f"{shown}M" if claim.quantity == "params" and shown[-1].isdigit() else shown, number)


def places(claim: Claimed) -> list[str]:
    """The tables that print the figure; the preset's file where none does."""
    return [place for place in claim.found_in if "/" not in place] or list(claim.found_in)


def records(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """One plain record per claim, numbers in plain units."""
    return [
        {
            "kind": "figure",
            "model": finding.claim.row.model or None,
            "label": finding.claim.label,
            "resolution": finding.claim.row.resolution,
            "quantity": finding.claim.quantity,
            "printed": finding.claim.figure.printed,
            "claimed": float(finding.claim.figure.value),
            "family": finding.claim.family,
            "found_in": list(finding.claim.found_in),
            "second_hand": finding.claim.row.second_hand or None,
            "original": finding.claim.original or None,
            "ours": finding.ours,
            "rule": finding.claim.rule,
            "by_its_rule": finding.own,
            "verdict": finding.verdict.kind.value,
            "how": finding.verdict.how or None,
            "left_out": finding.verdict.left_out,
            "off": finding.verdict.off,
            "why": finding.verdict.why or None,
        }
        for finding in findings
    ]
