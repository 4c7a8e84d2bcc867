"""What an audit found of sentences and of speeds: as tables and as plain records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dimbench import units
from dimbench.papers import saved_claims, speed_claims
from dimbench.papers.saved_claims import SavedClaim
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
            f"x {speed_claims.of_macs(claim):.2f}", _times(speed_claims.measured(claim, records)), claim.script,
            claim.source,
        )
        for claim in claims
    ]  # fmt: skip


def speeds(claims: Sequence[SpeedClaim], records: Sequence[Mapping[str, Any]]) -> Table:
    notes = ["Times as fast. Measured here: single passes in records of `dimbench bench` under equal conditions."]
    first_out = ("what their figure times", "by", "px")
    return Table(SPEEDS, speed_rows(claims, records), "Speeds", notes, first_out)


def _times(found: Sequence[speed_claims.Times]) -> str:
    return "; ".join(f"x {times:.2f} on {device}, batch {batch}" for times, device, batch in found) or (
        units.NOT_MEASURED
    )


SAVINGS = (
    "method", "network", "px", "setting", "printed", "printed share", "executed share", "times fewer",
    "time measured here", "by",
)  # fmt: skip


def saving_rows(claims: Sequence[SavedClaim], records: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """One saving of a method each as text, under SAVINGS."""
    return [
        (
            claim.paper, claim.run.model, str(claim.run.resolution), claim.setting, claim.printed,
            f"{claim.left:.3f}" if claim.left else saved_claims.NOT_STATED,
            f"{(share := saved_claims.executed(claim)):.3f}", f"{1 / share:.2f}",
            _times(saved_claims.measured(claim, records)), claim.source,
        )
        for claim in claims
    ]  # fmt: skip


def savings(claims: Sequence[SavedClaim], records: Sequence[Mapping[str, Any]]) -> Table:
    notes = [
        "Shares of the plain run: of FLOPs as printed, and of the multiply-adds of an image by rule macs, as it is "
        "executed, without decoding. Time: how many times as fast in records of `dimbench bench --steps`."
    ]
    first_out = ("by", "setting", "px", "network", "times fewer")
    return Table(SAVINGS, saving_rows(claims, records), "What methods save", notes, first_out)


def plain(
    answered: Answered,
    claims: Sequence[SpeedClaim],
    saved: Sequence[SavedClaim],
    records: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """A record for each sentence, each speed and each saving, told from those of figures by their `kind`."""
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
        *(
            {
                "kind": "saving", "method": claim.paper, "model": claim.run.model, "base": claim.plain,
                "resolution": claim.run.resolution, **claim.run.settings, "printed": claim.printed,
                "printed_share": claim.left, "executed_share": saved_claims.executed(claim),
                "measured": [list(each) for each in saved_claims.measured(claim, records)], "source": claim.source,
            }
            for claim in saved
        ),
    ]  # fmt: skip
