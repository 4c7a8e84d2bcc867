"""Whether a printed figure and a count agree, and under which rule."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dimbench import units
from dimbench.papers.figures import ROUNDED, Figure


class VerdictKind(StrEnum):
    AGREES = "agrees"
    OWN_RULE = "agrees under its own rule"
    DIFFERS = "does not agree"
    UNCHECKABLE = "not checkable here"


@dataclass(frozen=True)
class ClaimVerdict:
    """`how` says how the count gives the figure; `left_out` is the share of our count that the figure's own rule leaves
    out (negative: adds), `off` how far the figure lies above the count by its own rule (negative: below)."""

    kind: VerdictKind
    how: str = ""
    left_out: float | None = None
    off: float | None = None
    why: str = ""

    def __str__(self) -> str:
        printed = f" ({self.how})" if self.how and self.how != ROUNDED else ""
        if self.kind is VerdictKind.OWN_RULE and self.left_out is not None:
            verb = "leaves out" if self.left_out > 0 else "adds"
            return f"{self.kind}, which {verb} {units.per_cent(abs(self.left_out))}{printed}"
        if self.kind is VerdictKind.DIFFERS and self.off is not None:
            return f"{self.kind}: {_distance(self.off)}"
        return f"{self.kind}{printed}" + (f": {self.why}" if self.why else "")


def judge(figure: Figure, ours: int, own: int) -> ClaimVerdict:
    """The verdict on `figure`, given our count and the count by the rule its source used, in plain units."""
    if how := figure.reading(ours):
        return ClaimVerdict(VerdictKind.AGREES, how)
    if how := figure.reading(own):
        return ClaimVerdict(VerdictKind.OWN_RULE, how, left_out=1 - own / ours)
    return ClaimVerdict(VerdictKind.DIFFERS, off=figure.off(own))


def uncheckable(why: str) -> ClaimVerdict:
    return ClaimVerdict(VerdictKind.UNCHECKABLE, why=why)


def _distance(off: float) -> str:
    """0.1 -> "10 % above"; from the double on as a multiple."""
    if off >= 1:
        return f"{1 + off:.1f} times ours"
    return f"{units.per_cent(abs(off))} {'above' if off > 0 else 'below'} ours"
