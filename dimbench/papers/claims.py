"""Every claimed parameter count and GFLOPs figure, from the presets and the tables, and what a count says of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dimbench import names, presets
from dimbench.papers import beside as compare
from dimbench.papers import figures
from dimbench.papers import printed as tables
from dimbench.papers.figures import Figure
from dimbench.papers.printed import COUNTED, QUANTITIES, PrintedRow
from dimbench.papers.verdicts import ClaimVerdict, uncheckable

SURVEYS = "survey"


@dataclass(frozen=True)
class Claimed:
    """One figure about one network, once however often it is printed. `family` is that of the paper that prints it, or
    SURVEYS; `found_in` the tables that hold it; `row` as the first of them has it."""

    family: str
    row: PrintedRow
    quantity: str
    figure: Figure
    found_in: tuple[str, ...]

    @property
    def label(self) -> str:
        """The network's name: ours where it is a model of ours, else as printed."""
        return presets.find(self.row.model).label if self.row.model else self.row.label

    @property
    def rule(self) -> str:
        """The rule its source counted by."""
        return self.row.params_rule if self.quantity == "params" else self.row.rule

    @property
    def original(self) -> str:
        """What the paper of the network itself prints for the same quantity; "" where nothing."""
        if not self.row.model:
            return ""
        for claim in presets.find(self.row.model).claims:
            if claim.resolution == self.row.resolution:
                return claim.params if self.quantity == "params" else claim.gflops
        return ""


@dataclass(frozen=True)
class Finding:
    """A claim with our count and the count by its source's rule, in plain units; None where it is not checkable."""

    claim: Claimed
    ours: int | None
    own: int | None
    verdict: ClaimVerdict


def gather(*patterns: str) -> list[Claimed]:
    """The claims about models, or from tables, whose name one of the wildcards matches, all where there is none; case
    and separators are forgiven.
    Families by year, those without a network here behind them, surveys last."""
    merged: dict[Any, Claimed] = {}
    for claim in _all_claims():
        row, figure = claim.row, claim.figure
        key = (row.model or row.label, row.resolution, claim.quantity, figure.value, figure.place, claim.rule,
               claim.family == SURVEYS)  # fmt: skip
        merged[key] = _joined(merged[key], claim) if key in merged else claim
    chosen = [claim for claim in merged.values() if _matches(claim, patterns)]
    years = {preset.family: preset.year for preset in presets.all_presets().values()}
    return sorted(chosen, key=lambda claim: (claim.family == SURVEYS, years.get(claim.family, math.inf), claim.family))


def examine(claims: Iterable[Claimed]) -> list[Finding]:
    """Count every network that is claimed about, each once, and judge the claims."""
    return [_examine(claim) for claim in claims]


def _examine(claim: Claimed) -> Finding:
    if not claim.row.model:
        return Finding(claim, None, None, uncheckable(claim.row.why))
    return Finding(claim, *compare.counted(claim.figure, claim.quantity, claim.row))


def printed_by(family: str) -> str:
    """How the field writes the family that a paper is about."""
    known = any(preset.family == family for preset in presets.all_presets().values())
    return presets.family_label(family) if known else family


def preset_file(family: str) -> str:
    """Where the claims of a family's own paper lie."""
    return f"presets/{family}.toml"


def _all_claims() -> Iterator[Claimed]:
    for preset in presets.all_presets().values():
        for entry in preset.claims:
            row = PrintedRow(
                label=preset.label, cells=(), model=preset.name, resolution=entry.resolution, rule=entry.rule,
                params_rule=entry.params_rule, conditions={},
            )  # fmt: skip
            for quantity, printed in (("params", entry.params), ("gflops", entry.gflops)):
                if figure := figures.read(printed, QUANTITIES[quantity].unit):
                    yield Claimed(preset.family, row, quantity, figure, (preset_file(preset.family),))
    for table in tables.all_tables().values():
        for row in table.rows:
            for index, column in enumerate(table.columns):
                if column.name in COUNTED and (figure := table.figure(row, index)):
                    yield Claimed(table.name.split("-")[0], row, column.name, figure, (table.name,))


def _joined(first: Claimed, again: Claimed) -> Claimed:
    """One claim for a figure found twice: second-hand if every table that holds it says so; presets do not say."""
    hands = [claim.row.second_hand for claim in (first, again) if claim.found_in[-1] != preset_file(claim.family)]
    second_hand = hands[0] if all(hands) and hands else ""
    places = dict.fromkeys((*first.found_in, *again.found_in))
    return replace(first, row=replace(first.row, second_hand=second_hand), found_in=tuple(places))


def _matches(claim: Claimed, patterns: Sequence[str]) -> bool:
    return names.is_among(patterns, claim.row.model, claim.row.label, printed_by(claim.family), *claim.found_in)
