from __future__ import annotations

import json
import re

import pytest

from dimbench.papers import claims
from dimbench.papers.claims import Finding
from dimbench.papers.verdicts import VerdictKind
from dimbench.report import audit_page
from dimbench.report import audit_table as audit

RULES = {"macs": ("one per multiply-add", "ours"), "calflops": ("what it sees", "theirs"), "unused": ("a", "b")}


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    return claims.examine(claims.gather("dimsum-*")) + claims.examine(claims.gather("survey-udit-1"))


def test_the_outcome_counts_every_claim(findings: list[Finding]) -> None:
    numbers = [int(number) for number in re.findall(r"\d+", audit.outcome(findings))]
    assert numbers[0] == len(findings) == sum(numbers[1:])


def test_the_summary_has_a_line_for_each_source(findings: list[Finding]) -> None:
    summary = audit.summary(findings)
    assert [row[0] for row in summary.rows] == ["DiT", "DiMSUM", "Surveys"] or summary.rows[-1][0] == "Surveys"
    line = next(row for row in summary.rows if row[0] == "DiMSUM")
    assert line[-2:] == ("19.3 %", "0.04 % above ours")
    assert int(line[1]) == sum(map(int, line[2:6]))


def test_claims_are_shown_as_printed_with_their_unit(findings: list[Finding]) -> None:
    rows = {row[2]: row for table in audit.tables(findings)[1:] for row in table.rows}
    assert rows["84.49 GFLOPs"][3:7] == (
        "96.598", "calflops", "84.493", "agrees under its own rule, which leaves out 12.5 %",
    )  # fmt: skip
    assert rows["84.49 GFLOPs"][7] == "dico-1, dimsum-speed"
    assert rows["90M params"][3] == "130.32M"
    assert rows["673M params"][3] == "-"


def test_a_claim_that_no_table_holds_is_found_in_its_preset() -> None:
    (claim,) = (c for c in claims.gather("dit-xl2") if (c.quantity, c.row.resolution) == ("params", 512))
    assert audit.places(claim) == ["presets/dit.toml"]


def test_records_are_plain(findings: list[Finding]) -> None:
    records = json.loads(json.dumps(audit.records(findings)))
    assert {record["verdict"] for record in records} == {kind.value for kind in VerdictKind}
    (wrong,) = (record for record in records if record["printed"] == "59.8")
    assert wrong["original"] == "85.00"
    assert wrong["off"] == pytest.approx(59.8e9 / 85_000_307_456 - 1)


def test_the_page_holds_every_claim_and_stands_alone(findings: list[Finding]) -> None:
    page = audit_page.render(findings, RULES)
    assert audit.outcome(findings) in page
    assert page.count("<td") > 8 * len(findings)
    assert "leaves out 12.5 %" in page
    assert "what it sees" in page
    assert "<dt>unused</dt>" not in page
    assert not re.search(r'(src|href|action)="', page)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert data
    assert len(json.loads(data[1])) == len(findings)


def test_marks_lie_at_their_ratio_and_gather_what_is_near() -> None:
    (marks,) = re.findall(r'audit-lane warn">(.*?)</div>', audit_page.render(
        [f for f in claims.examine(claims.gather("dim-h2")) if f.claim.quantity == "gflops"], RULES), re.S)  # fmt: skip
    ((left,),) = [re.findall(r"left:([\d.]+)%", marks)]
    assert float(left) == pytest.approx(35.9, abs=0.1)  # 210 / 311.5 on an axis from 1/4 to 4
    assert "◆ 2" in marks
