"""Whether a change is a regression: metrics, margins and verdicts, from plain numbers.

Exact metrics are compared by equality, image quality by a difference, and noisy ones by rounds. In a round both sides
ran in fresh processes, one right after the other; its value is log(NEW / BASE), so that drift hits both.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import fmean, median, stdev
from typing import Any

from dimbench.errors import UsageError
from dimbench.report import student

LEVEL = 0.95  # of the intervals; 1 - LEVEL is the chance of a false alarm in a whole report
SUPERIORITY = 0.8  # share of rounds that must agree: a p-value alone is fooled by a few extreme rounds
NOISE_FACTOR = 2  # a change must exceed this many half-widths of A against A


class Kind(StrEnum):
    EXACT = "exact"
    NOISY = "noisy"
    QUALITY = "quality"


class Verdict(StrEnum):
    SLOWER = "slower"
    FASTER = "faster"
    WORSE = "worse"
    BETTER = "better"
    SAME = "same"
    UNCLEAR = "unclear"
    EQUAL = "equal"
    CHANGED = "changed"


@dataclass(frozen=True)
class Metric:
    """How a metric is compared. `worse` is +1 where more is worse and -1 where less is. `margin` holds unless the user
    gives one: a share for noisy metrics, a difference for quality; without one, only --fail-if brings the metric in."""

    kind: Kind
    worse: int = 1
    margin: float | None = None
    is_time: bool = False

    @property
    def verdicts(self) -> tuple[Verdict, Verdict]:
        """What a change for the worse and one for the better is called."""
        return (Verdict.SLOWER, Verdict.FASTER) if self.is_time else (Verdict.WORSE, Verdict.BETTER)


_EXACT = Metric(Kind.EXACT)
METRICS = {
    "macs": _EXACT,
    "flops": _EXACT,
    "macs_per_image": _EXACT,
    "flops_per_image": _EXACT,
    "params": _EXACT,
    "params_dead": _EXACT,
    "params_fixed": _EXACT,
    "params_inference": _EXACT,
    "network_calls": _EXACT,
    "seconds": Metric(Kind.NOISY, margin=0.05, is_time=True),
    "images_per_second": Metric(Kind.NOISY, worse=-1, is_time=True),  # mirrors seconds: twice the rows, nothing new
    "peak_bytes": Metric(Kind.NOISY, margin=0.05),
    "fid": Metric(Kind.QUALITY, margin=0.05),  # at FID 2, other seeds alone move it by as much
    "kid_mean": Metric(Kind.QUALITY),
    "is_mean": Metric(Kind.QUALITY, worse=-1),
    "precision": Metric(Kind.QUALITY, worse=-1),
    "recall": Metric(Kind.QUALITY, worse=-1),
}


@dataclass(frozen=True)
class Gate:
    """One --fail-if: the metric that may not get worse, and by how much it may."""

    metric: str
    margin: float | None = None


def parse_gate(text: str) -> Gate:
    """ "seconds:+5%", "fid:+0.05", "macs" or "seconds"; UsageError says what does not fit."""
    name, _, allowed = text.partition(":")
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"give one of {', '.join(METRICS)}"
        raise UsageError(f"--fail-if {text}: {name!r} is no metric that can be compared; {hint}")
    metric = METRICS[name]
    sign, unit = "+" if metric.worse > 0 else "-", "%" if metric.kind is Kind.NOISY else ""
    if not allowed and (metric.kind is Kind.EXACT or metric.margin is not None):
        return Gate(name)
    if metric.kind is Kind.EXACT:
        raise UsageError(f"--fail-if {text}: {name} is exact and compared by equality; give --fail-if {name}")
    found = re.fullmatch(rf"\{sign}?(\d+\.?\d*|\.\d+){unit}", allowed)
    if not found or not float(found[1]):
        example = f"{name}:{sign}{'5%' if unit else '0.05'}"
        raise UsageError(f"--fail-if {text}: not a margin by which {name} may get worse; write it as {example}")
    return Gate(name, float(found[1]) / (100 if unit else 1))


@dataclass(frozen=True)
class Noise:
    """What A against A showed on this machine: the spread of one round's log ratio."""

    deviation: float

    def half_width(self, rounds: int) -> float:
        """Half the interval that A against A has after as many rounds, as a logarithm."""
        return student.quantile(LEVEL, rounds - 1) * self.deviation / math.sqrt(rounds) if rounds > 1 else math.inf


@dataclass(frozen=True)
class Estimate:
    """By how much NEW is worse, as a logarithm: mean of the rounds, Student t interval, two-sided p-value, and the
    share of the rounds that point the way the mean does."""

    mean: float
    low: float
    high: float
    p: float
    superiority: float
    rounds: int

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of at least one round value, with what the spread of the rounds says of it."""
    rounds, mean = len(values), fmean(values)
    agreeing = sum(1.0 if value * mean > 0 else 0.5 if value == 0 else 0.0 for value in values) / rounds
    if rounds < 2:
        return Estimate(mean, -math.inf, math.inf, 1.0, agreeing, rounds)
    error = stdev(values) / math.sqrt(rounds)
    if error == 0:  # as the peak memory of a GPU: every round the same
        return Estimate(mean, mean, mean, float(mean == 0), agreeing, rounds)
    half = student.quantile(LEVEL, rounds - 1) * error
    return Estimate(mean, mean - half, mean + half, 1 - student.inside(mean / error, rounds - 1), agreeing, rounds)


def holm(chances: Sequence[float]) -> list[bool]:
    """Which of the p-values are significant together at 1 - LEVEL (Holm, Scand. J. Statistics 6, 1979)."""
    significant = [False] * len(chances)
    for left, index in zip(
        range(len(chances), 0, -1), sorted(range(len(chances)), key=chances.__getitem__), strict=True
    ):
        if chances[index] > (1 - LEVEL) / left:
            break
        significant[index] = True
    return significant


@dataclass(frozen=True)
class Pair:
    """The figures of one metric of one row on both sides, round by round; base[k] and new[k] belong together.

    `environments` are those of the two sides; `differing` the conditions that are not shared, with both values. An
    `obstacle` says why noisy figures prove nothing.
    """

    command: str
    model: str
    conditions: Mapping[str, Any]
    metric: str
    base: tuple[float | None, ...]
    new: tuple[float | None, ...]
    environments: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    differing: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    obstacle: str = ""

    @property
    def kind(self) -> Kind:
        return METRICS[self.metric].kind

    @property
    def figures(self) -> tuple[float | None, float | None]:
        """The median of each side; None where a round has no figure."""
        base, new = (
            None if None in side else median(v for v in side if v is not None) for side in (self.base, self.new)
        )
        return base, new

    @property
    def countable(self) -> bool:
        """Whether its rounds can be told apart from noise."""
        return self.kind is Kind.NOISY and not self.obstacle and all(self.base) and all(self.new)

    def values(self) -> list[float]:
        """log(NEW / BASE) of each round, signed so that more is worse."""
        sign = METRICS[self.metric].worse
        return [sign * math.log(n / b) for b, n in zip(self.base, self.new, strict=True) if b and n]


@dataclass(frozen=True)
class Change:
    """What a pair says. `low` and `high` bound `ratio` = NEW / BASE with 95 % confidence; `margin` is a share, or a
    difference for quality; `noise_margin` says that it was widened beyond what was asked for, to this machine's noise.
    `worsened` is what --fail-if looks at; `confirmed`, that it needs no second comparison or that one agreed."""

    pair: Pair
    verdict: Verdict
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    noise_margin: bool = False
    superiority: float | None = None
    worsened: bool = False
    confirmed: bool = False
    reason: str = ""
    second: Pair | None = None  # the rounds of the second comparison


def judge(pairs: Sequence[Pair], margins: Mapping[str, float], noise: Sequence[Noise | None]) -> list[Change]:
    """The verdict on each pair; the noisy ones share one chance of a false alarm.

    `margins` are the user's by metric, over the metric's own; `noise` is that of the machine's clock where each pair
    ran, None where it was not calibrated.
    """
    estimates = [estimate(pair.values()) if pair.countable else None for pair in pairs]
    measured = [index for index, found in enumerate(estimates) if found]
    significant = dict(zip(measured, holm([e.p for e in estimates if e]), strict=True))
    changes = []
    for index, (pair, found) in enumerate(zip(pairs, estimates, strict=True)):
        margin = margins.get(pair.metric, METRICS[pair.metric].margin)
        if found and margin:
            changes.append(
                _noisy(pair, found, significant[index], margin, noise[index] if METRICS[pair.metric].is_time else None)
            )
        else:
            changes.append(_plain(pair, margin))
    return changes


def _plain(pair: Pair, margin: float | None) -> Change:
    """A verdict that needs no statistics, or that none can give."""
    base, new = pair.figures
    ratio = new / base if base and new is not None else None
    if base is None or new is None:
        lost = new is None
        reason = f"{'NEW' if lost else 'BASE'} has no figure"
        return Change(pair, Verdict.CHANGED, worsened=lost, confirmed=True, reason=reason)
    if pair.kind is Kind.EXACT:
        changed = base != new
        return Change(pair, Verdict.CHANGED if changed else Verdict.EQUAL, ratio, worsened=changed, confirmed=changed)
    if pair.kind is Kind.QUALITY and margin is not None:
        return _quality(pair, base, new, margin)
    return Change(pair, Verdict.UNCLEAR, ratio, margin=margin, reason=pair.obstacle or "a figure is zero")


def _quality(pair: Pair, base: float, new: float, margin: float) -> Change:
    """The same images were drawn again, from the same seeds: a difference beyond the margin is no luck of the draw."""
    metric = METRICS[pair.metric]
    rise = (new - base) * metric.worse
    worse, better = metric.verdicts
    verdict = worse if rise > margin else better if rise < -margin else Verdict.SAME
    return Change(pair, verdict, margin=margin, worsened=verdict is worse, confirmed=verdict is worse)


def _noisy(pair: Pair, found: Estimate, significant: bool, asked: float, noise: Noise | None) -> Change:
    """Slower and faster must exceed the machine's noise too. Same must not lean on it: the interval has to lie within
    the margin that was asked for, else a noisy machine would call everything the same."""
    metric = METRICS[pair.metric]
    within = math.log1p(asked)
    beyond = max(within, NOISE_FACTOR * noise.half_width(found.rounds)) if noise else within
    verdict, reason = Verdict.UNCLEAR, ""
    if significant and abs(found.mean) > beyond and found.superiority >= SUPERIORITY:
        verdict = metric.verdicts[0 if found.mean > 0 else 1]
    elif -within <= found.low and found.high <= within:
        verdict = Verdict.SAME
    else:
        reason = _why_unclear(found, significant, beyond)
    low, high = sorted(_exp(metric.worse * bound) for bound in (found.low, found.high))
    bounded = math.isfinite(found.low)
    return Change(
        pair,
        verdict,
        _exp(metric.worse * found.mean),
        low if bounded else None,
        high if bounded else None,
        math.expm1(beyond) if math.isfinite(beyond) else None,
        beyond > within,
        found.superiority,
        worsened=verdict is metric.verdicts[0],
        reason=reason,
    )


def _why_unclear(found: Estimate, significant: bool, beyond: float) -> str:
    if found.rounds < 2:
        return "one round has no interval"
    if not significant:
        return "the interval is too wide to tell"
    if abs(found.mean) <= beyond:
        return "changed, but by less than the margin or not surely less"
    return f"only {found.superiority:.0%} of the rounds agree"


def _exp(value: float) -> float:
    return math.exp(value) if math.isfinite(value) else math.inf


def confirm(first: Change, second: Change) -> Change:
    """A change for the worse stands if an independent comparison says so too; else the two together are unclear."""
    if second.verdict is first.verdict:
        return replace(first, confirmed=True, second=second.pair)
    reason = f"first {first.verdict}, then {second.verdict} when compared again"
    return replace(first, verdict=Verdict.UNCLEAR, worsened=False, reason=reason, second=second.pair)


def failing(changes: Sequence[Change], gates: Sequence[Gate], unclear_too: bool) -> list[Change]:
    """The changes for which the process exits with 3."""
    gated = {gate.metric for gate in gates}
    return [
        change
        for change in changes
        if change.pair.metric in gated
        and ((change.worsened and change.confirmed) or (unclear_too and change.verdict is Verdict.UNCLEAR))
    ]
