"""The claims of papers and surveys, and the verdicts on them; every network is counted, so this file takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimbench import presets
from dimbench.papers import claims
from dimbench.papers import printed as tables
from dimbench.papers.claims import SURVEYS, Finding
from dimbench.papers.verdicts import VerdictKind
from dimbench.report.audit_table import outcome


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    return claims.examine(claims.gather())


def verdict(findings: list[Finding], model: str, printed: str, resolution: int = 256, survey: bool = False) -> str:
    (found,) = (
        finding
        for finding in findings
        if finding.claim.row.model == model
        and (finding.claim.figure.printed, finding.claim.row.resolution) == (printed, resolution)
        and (finding.claim.family == SURVEYS) is survey
    )
    return str(found.verdict)


@pytest.mark.parametrize(
    ("model", "printed", "resolution", "words"),
    [
        ("dit-xl2", "118.64", 256, "agrees under its own rule, which adds 0.01 %"),
        ("dit-b4", "5.56", 256, "agrees (cut off, not rounded)"),
        ("dit-xl2", "524.60", 512, "agrees under its own rule, which adds 0.01 % (cut off, not rounded)"),
        ("dimsum-l2", "84.49", 256, "agrees under its own rule, which leaves out 12.5 %"),
        ("dimsum-l2", "337.48", 512, "agrees under its own rule, which leaves out 19.3 % (cut off, not rounded)"),
        ("dim-h2", "210", 256, "agrees under its own rule, which leaves out 32.4 % (cut off, not rounded)"),
        ("dim-h2", "860M", 512, "agrees (rounded to tens)"),
        ("udit-l", "810.19M", 256, "agrees under its own rule, which leaves out 11.6 %"),
        ("udit-b", "22.22", 256, "agrees under its own rule, which adds 0.2 %"),
        ("dit-xl2", "524.7", 512, "does not agree: 0.08 % below ours"),
        ("dit-l2", "361.14", 512, "does not agree: 0.03 % above ours"),
    ],
)
def test_known_verdicts(findings: list[Finding], model: str, printed: str, resolution: int, words: str) -> None:
    assert verdict(findings, model, printed, resolution) == words


def test_the_shipped_page_is_of_these_claims(findings: list[Finding]) -> None:
    shipped = (Path(__file__).parents[2] / "results" / "audit.html").read_text()
    assert outcome(findings) in shipped, "make it again: dimbench audit --html results/audit.html"


def test_surveys_are_judged_like_papers(findings: list[Finding]) -> None:
    assert verdict(findings, "dit-xl2", "283.4", survey=True) == "does not agree: 2.4 times ours"
    assert verdict(findings, "dit-xl2", "118.6", survey=True) == "agrees"
    (wrong,) = (f for f in findings if f.claim.figure.printed == "16.3")
    assert wrong.claim.original == "23.01"


def test_every_countable_figure_of_a_paper_agrees_but_for_these(findings: list[Finding]) -> None:
    differing = {
        (finding.claim.found_in[0], finding.claim.figure.printed)
        for finding in findings
        if finding.claim.family != SURVEYS and finding.verdict.kind is VerdictKind.DIFFERS
    }
    assert differing == {
        ("others-since-2025", "12.88"),  # 179 in truth
        ("presets/pmf.toml", "272"),  # 271.26
        ("udit-6", "524.7"),
        ("dimsum-speed", "80.74"),
        ("dimsum-speed", "361.14"),
        ("presets/wan.toml", "1.3B"),  # 1.42 billion by its configuration
        ("presets/dit-diffusers.toml", "675M"),  # the class keeps embeddings in each block
    }


def test_every_countable_figure_is_among_the_claims(findings: list[Finding]) -> None:
    printed = {
        (table.name, row.label, row.cells[index])
        for table in tables.all_tables().values()
        for row in table.rows
        for index, column in enumerate(table.columns)
        if column.counted and row.cells[index]
    }
    places = {place for finding in findings for place in finding.claim.found_in}
    assert {name for name, *_ in printed} <= places
    assert all(finding.ours for finding in findings if finding.claim.row.model)
    assert {f.verdict.kind for f in findings if not f.claim.row.model} == {VerdictKind.UNCHECKABLE}


def test_a_figure_printed_twice_is_one_claim() -> None:
    (claim,) = (c for c in claims.gather("dit-xl2") if c.figure.printed == "118.64" and c.family == "dit")
    assert {"presets/dit.toml", "dit-4", "udit-2"} <= set(claim.found_in)
    assert claim.row.second_hand == ""  # the U-DiT paper, which was read, prints it too
    (other,) = (c for c in claims.gather("dit-xl4") if c.figure.printed == "29.05")
    assert other.row.second_hand


def test_patterns_choose_models_and_tables() -> None:
    by_model, by_table = claims.gather("dimsum_l2"), claims.gather("DiMSUM-Speed")
    assert {claim.row.model for claim in by_model} == {"dimsum-l2"}
    assert {claim.row.model for claim in by_table} == {"dimsum-l2", "dit-l2"}
    assert {place for claim in claims.gather("survey-udit-1") for place in claim.found_in} >= {"survey-udit-1"}
    assert claims.gather("gan") == []


def test_families_stand_in_the_order_of_their_papers() -> None:
    families = list(dict.fromkeys(claim.family for claim in claims.gather()))
    assert families[0] == "dit"
    assert families[-1] == SURVEYS
    built = {preset.family for preset in presets.all_presets().values()}
    assert [family for family in families[:-1] if family not in built] == families[-3:-1] == ["diffussm", "others"]
