"""What a few rounds say: their mean with its interval, and what of it is chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from dimbench import stats

LEVEL = 0.95  # of the intervals; 1 - LEVEL is the chance of a false alarm in a whole report


@dataclass(frozen=True)
class Noise:
    """What A against A showed on this machine: the spread of one round's log ratio."""

    deviation: float

    def half_width(self, rounds: int) -> float:
        """Half the interval that A against A has after as many rounds, as a logarithm."""
        return stats.t_quantile(LEVEL, rounds - 1) * self.deviation / math.sqrt(rounds) if rounds > 1 else math.inf


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
    half = stats.t_quantile(LEVEL, rounds - 1) * error
    return Estimate(mean, mean - half, mean + half, 1 - stats.t_inside(mean / error, rounds - 1), agreeing, rounds)


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
