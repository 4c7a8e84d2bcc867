"""What an audit found of sentences and of speeds: as tables and as plain records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dimbench import units
from dimbench.papers import speed_claims
from dimbench.papers.sentences import Answer, Holds, Sentence
from dimbench.papers.speed_claims import SpeedClaim
from dimbench.report.tables import Table

Answered = Sequence[tuple[Sentence, Answer]]
COLUMNS = ("what is said", "by", "kind", "verdict", "found", "shown by")


def rows(answered: Answered) -> list[tuple[str, ...]]:
    """One sentence each as text, under COLUMNS."""
    return [(s.says, s.source, s.kind, a.verdict, a.found, s.command) for s, a in answered]


def outcome(answered: Answered) -> str:
    """All of them in one sentence."""
    kinds = Counter(answer.verdict for _, answer in answered)
    return f"Of {len(answered)} sentences: {', '.join(f'{kinds[kind]} {kind}' for kind in Holds if kinds[kind])}."


def table(answered: Answered) -> Table:
    return Table(COLUMNS, rows(answered), "Sentences", [outcome(answered)])


SPEEDS = ("faster", "than", "px", "printed", "by multiply-adds", "measured here", "what their figure times", "by")


def speed_rows(claims: Sequence[SpeedClaim], records: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """One speed each as text, under SPEEDS."""
    return [
        (
            claim.fast, claim.slow, str(claim.resolution), f"x {speed_claims.printed(claim)}",
            f"x {speed_claims.of_macs(claim):.2f}", _measured(claim, records), claim.script, claim.source,
        )
        for claim in claims
    ]  # fmt: skip


def speeds(claims: Sequence[SpeedClaim], records: Sequence[Mapping[str, Any]]) -> Table:
    notes = ["Times as fast. Measured here: single passes in records of `dimbench bench` under equal conditions."]
    return Table(SPEEDS, speed_rows(claims, records), "Speeds", notes)


def _measured(claim: SpeedClaim, records: Sequence[Mapping[str, Any]]) -> str:
    found = speed_claims.measured(claim, records)
    return "; ".join(f"x {times:.2f} on {device}, batch {batch}" for times, device, batch in found) or (
        units.NOT_MEASURED
    )


def plain(
    answered: Answered, claims: Sequence[SpeedClaim], records: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A record for each sentence and each speed, told from those of figures by their `kind`."""
    sentences = [
        {"kind": s.kind.value, "says": s.says, "source": s.source, "about": list(s.about), "verdict": a.verdict.value,
         "found": a.found, "command": s.command}
        for s, a in answered
    ]  # fmt: skip
    return [
        *sentences,
        *(
            {
                "kind": "speed", "model": claim.fast, "base": claim.slow, "resolution": claim.resolution,
                "printed": speed_claims.printed(claim), "by_macs": speed_claims.of_macs(claim),
                "measured": [list(each) for each in speed_claims.measured(claim, records)], "script": claim.script,
                "source": claim.source,
            }
            for claim in claims
        ),
    ]  # fmt: skip
