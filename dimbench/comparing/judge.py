"""Whether a change is a regression: metrics, margins and verdicts, from plain numbers.

Exact metrics are compared by equality, image quality by a difference, and noisy ones by rounds. In a round both sides
ran in fresh processes, one right after the other; its value is log(NEW / BASE), so that drift hits both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median
from typing import Any

from dimbench.comparing.estimate import Estimate, Noise, estimate, holm
from dimbench.comparing.gates import METRICS, Gate, MetricKind, Verdict
from dimbench.quality.protocol import FINDING, TRAININGS
from dimbench.stats import NORMAL

SUPERIORITY = 0.8  # share of rounds that must agree: a p-value alone is fooled by a few extreme rounds
GPU_MARGIN = 0.02  # of times, which a GPU repeats better than a CPU
NOISE_FACTOR = 2  # a change must exceed this many half-widths of A against A
LARGEST = 700.0  # logarithm that has an exponential


@dataclass(frozen=True)
class Pair:
    """The figures of one metric of one row on both sides, round by round; base[k] and new[k] belong together.

    `environments` are those of the two sides; `differing` the conditions that are not shared, with both values;
    `hertz` the clock of a GPU in each round, where it is known; `errors` the standard error of the figure on each side,
    over draws of the images. An `obstacle` says why noisy figures prove nothing,
    `missing` why a side has no figure.
    """

    command: str
    model: str
    conditions: Mapping[str, Any]
    metric: str
    base: tuple[float | None, ...]
    new: tuple[float | None, ...]
    environments: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    differing: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    hertz: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    errors: tuple[float | None, float | None] = (None, None)
    obstacle: str = ""
    missing: str = ""

    @property
    def kind(self) -> MetricKind:
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
        above = all(value is not None and value > 0 for value in (*self.base, *self.new))
        return self.kind is MetricKind.NOISY and not self.obstacle and above

    def values(self) -> list[float]:
        """log(NEW / BASE) of each round, signed so that more is worse."""
        sign = METRICS[self.metric].worse
        return [sign * (math.log(n) - math.log(b)) for b, n in zip(self.base, self.new, strict=True) if b and n]

    def cycles(self) -> list[float]:
        """The same with time counted in cycles of a GPU; empty where its clock is not known in every round."""
        known = METRICS[self.metric].is_time and all(len(side) == len(self.base) for side in self.hertz)
        clocks = (math.log(after / before) for before, after in zip(*self.hertz, strict=True)) if known else ()
        return [value + clock for value, clock in zip(self.values(), clocks, strict=False)]


@dataclass(frozen=True)
class Change:
    """What a pair says. `low` and `high` bound `ratio`, the geometric mean of NEW / BASE over the rounds, with 95 %
    confidence, `between` NEW - BASE of quality. `margin` is a share, or a difference for quality; `noise_margin` says
    that it was widened from what was asked for to this machine's noise. `worsened` is what --fail-if looks at;
    `confirmed`, that it needs no second comparison or that one agreed."""

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
    between: tuple[float, float] | None = None
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
        margin = margins.get(pair.metric, _usual_margin(pair))
        if found and margin:
            changes.append(_noisy(pair, found, significant[index], margin, noise[index]))
        elif pair.kind is MetricKind.QUALITY and "weights" in pair.differing and None not in pair.figures:
            changes.append(_of_trainings(pair, margins.get(pair.metric)))
        else:
            changes.append(_plain(pair, margin))
    return changes


def _usual_margin(pair: Pair) -> float | None:
    metric = METRICS[pair.metric]
    on_gpu = pair.conditions.get("device") == "cuda"
    return GPU_MARGIN if on_gpu and metric.is_time and metric.margin else metric.margin


def _plain(pair: Pair, margin: float | None) -> Change:
    """A verdict that needs no statistics, or that none can give."""
    base, new = pair.figures
    ratio = new / base if base and new is not None else None
    if base is None or new is None:
        lost = new is None
        reason = f"{'NEW' if lost else 'BASE'} has no figure" + (f": {pair.missing}" if pair.missing else "")
        return Change(pair, Verdict.CHANGED, worsened=lost, confirmed=True, reason=reason)
    if pair.kind is MetricKind.EXACT:
        changed = base != new
        return Change(pair, Verdict.CHANGED if changed else Verdict.EQUAL, ratio, worsened=changed, confirmed=changed)
    if pair.kind is MetricKind.QUALITY and margin is not None:
        return _quality(pair, base, new, margin)
    return Change(pair, Verdict.UNCLEAR, ratio, margin=margin, reason=pair.obstacle or "a figure is not above 0")


def _quality(pair: Pair, base: float, new: float, margin: float) -> Change:
    """The same images were drawn again, from the same seeds: a difference beyond the margin is no luck of the draw."""
    metric = METRICS[pair.metric]
    rise = (new - base) * metric.worse
    worse, better = metric.verdicts
    verdict = worse if rise > margin else better if rise < -margin else Verdict.SAME
    return Change(pair, verdict, margin=margin, worsened=verdict is worse, confirmed=verdict is not Verdict.SAME)


def _of_trainings(pair: Pair, asked: float | None) -> Change:
    """Other weights draw other images: what the difference of two figures tells is in their intervals."""
    base, new = (figure or 0.0 for figure in pair.figures)
    margin = TRAININGS * abs(base) if asked is None else asked
    errors = [error for error in pair.errors if error is not None]
    if len(errors) < len(pair.errors):
        return Change(pair, Verdict.CANNOT_TELL, margin=margin, reason="a record says no error of its figure")
    metric, half = METRICS[pair.metric], NORMAL * math.hypot(*errors)
    between, rise = (new - base - half, new - base + half), (new - base) * metric.worse
    if abs(rise) <= half:
        return Change(pair, Verdict.CANNOT_TELL, margin=margin, between=between, reason="the interval holds 0")
    if abs(rise) <= margin:
        reason = FINDING if asked is None else "the difference is within the margin"
        return Change(pair, Verdict.CANNOT_TELL, margin=margin, between=between, reason=reason)
    verdict = metric.verdicts[rise < 0]
    return Change(pair, verdict, margin=margin, between=between, worsened=rise > 0, confirmed=True)


def _noisy(pair: Pair, found: Estimate, significant: bool, asked: float, noise: Noise | None) -> Change:
    metric = METRICS[pair.metric]
    within = math.log1p(asked)
    beyond = max(within, NOISE_FACTOR * noise.half_width(found.rounds)) if noise and metric.is_time else within
    verdict, reason = _verdict(pair, found, significant, within, beyond)
    bounds = [found.low, found.mean, found.high] if metric.worse > 0 else [-found.high, -found.mean, -found.low]
    low, ratio, high = (math.exp(bound) if abs(bound) < LARGEST else None for bound in bounds)
    return Change(
        pair,
        verdict,
        ratio,
        low,
        high,
        margin=math.expm1(beyond) if beyond < LARGEST else None,
        noise_margin=beyond > within,
        superiority=found.superiority,
        worsened=verdict is metric.verdicts[0],
        reason=reason,
    )


def _verdict(pair: Pair, found: Estimate, significant: bool, within: float, beyond: float) -> tuple[Verdict, str]:
    """The verdict and, where it is unclear, why.

    A change must exceed the machine's noise as well as the margin asked for. "Same" must not lean on the noise:
    its interval has to lie within the margin asked for, else a noisy machine would call everything the same.
    """
    if -within <= found.low and found.high <= within:
        return Verdict.SAME, ""
    if not significant:
        return Verdict.UNCLEAR, "too few rounds or too much noise to tell"
    if abs(found.mean) <= beyond:
        return Verdict.UNCLEAR, "a change, but not surely above or below the margin"
    if found.superiority < SUPERIORITY:
        return Verdict.UNCLEAR, f"only {found.superiority:.0%} of the rounds agree"
    worse, better = METRICS[pair.metric].verdicts
    cycles = fmean(pair.cycles() or [found.mean])
    if (cycles if found.mean > 0 else -cycles) <= beyond:
        return Verdict.UNCLEAR, f"the clock changed: in cycles it is {math.expm1(cycles):+.1%}"
    return worse if found.mean > 0 else better, ""


def needs_confirming(change: Change) -> bool:
    """Whether a change, for the worse or for the better, is one that an independent comparison has to find again."""
    return not change.confirmed and change.verdict in METRICS[change.pair.metric].verdicts


def confirm(first: Change, second: Change) -> Change:
    """A change stands if an independent comparison says so too; else the two together are unclear."""
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
        and (
            (change.worsened and change.confirmed)
            or (unclear_too and change.verdict in (Verdict.UNCLEAR, Verdict.CANNOT_TELL))
        )
    ]
