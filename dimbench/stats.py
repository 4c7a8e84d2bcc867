"""What a raw series of measurements says: median with its interval, spread, percentiles, outliers; Student's t.

Standard library only.
Nothing is dropped from a series: outliers are counted and named. A figure that the series is too short for is None.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from statistics import fmean

LEVEL = 0.95  # of the interval of the median
NORMAL = 1.959964  # standard errors on either side that hold as much of a normal distribution
FEWEST_BLOCKS = 8  # of which a variance is taken
ALIKE = 0.9  # correlation of neighbours up to which the interval was seen to hold: results/interval_coverage.py
MOST_ALIKE = 0.99
TELLING = 50  # samples: fewer do not tell how alike neighbours are
MOST_FREEDOM = 200  # of Student's t: the normal distribution's quantile but for 0.6 %
QUARTILES_NEED = 4  # samples: fewer have no middle half
P90_NEEDS = 50  # samples: 5 lie beyond the percentile
P99_NEEDS = 1000  # samples: 10 lie beyond it


@dataclass(frozen=True)
class Outliers:
    """How many samples lie beyond Tukey's fences: mild 1.5 and severe 3 interquartile ranges off the quartiles."""

    low_severe: int = 0
    low_mild: int = 0
    high_mild: int = 0
    high_severe: int = 0

    @property
    def total(self) -> int:
        return self.low_severe + self.low_mild + self.high_mild + self.high_severe


@dataclass(frozen=True)
class Summary:
    """A series in short, in the unit of its samples; `low` and `high` bound the median with 95 % confidence, and
    `neighbours` is how much each sample is like the next, their correlation."""

    count: int
    median: float
    low: float | None
    high: float | None
    iqr: float | None
    minimum: float
    mean: float
    p90: float | None
    p99: float | None
    outliers: Outliers
    neighbours: float

    @property
    def margin(self) -> float | None:
        """Half the width of the interval as a share of the median."""
        if self.low is None or self.high is None or not self.median:
            return None
        return (self.high - self.low) / 2 / self.median

    @property
    def spread(self) -> float:
        """The interquartile range as a share of the median; 0 where it is not known."""
        return self.iqr / self.median if self.iqr and self.median else 0.0


def summarise(samples: Sequence[float]) -> Summary:
    """Everything this file can say about one series of at least one sample."""
    low, high = median_interval(samples) or (None, None)
    return Summary(
        count=len(samples),
        median=median(samples),
        low=low,
        high=high,
        iqr=iqr(samples) if len(samples) >= QUARTILES_NEED else None,
        minimum=min(samples),
        mean=fmean(samples),
        p90=quantile(samples, 0.90) if len(samples) >= P90_NEEDS else None,
        p99=quantile(samples, 0.99) if len(samples) >= P99_NEEDS else None,
        outliers=outliers(samples),
        neighbours=likeness(samples),
    )


def median(samples: Sequence[float]) -> float:
    """The middle sample, or the mean of the two in the middle."""
    return statistics.median(samples)


def quantile(samples: Sequence[float], share: float) -> float:
    """The value below which `share` of the samples lie, interpolated between neighbours (numpy's default rule)."""
    ordered = sorted(samples)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def iqr(samples: Sequence[float]) -> float:
    """The distance between the quartiles."""
    return quantile(samples, 0.75) - quantile(samples, 0.25)


def median_interval(samples: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """The two samples that hold the median of the distribution between them with at least `level` confidence.

    By order statistics: how many of independent samples lie below the true median is binomial with p = 1/2, whatever
    the distribution (David and Nagaraja, Order Statistics, 7.1). Samples that are like their neighbours are worth
    fewer. None where even the extremes are not sure enough: worth below 6 at 95 %. How alike they are is an estimate
    itself, so that the interval is of as few as one standard error more would leave, and as wide as Student's t.
    """
    count, alike = len(samples), likeness(samples)
    place = median_rank(math.floor(count / inflation(samples, alike)), level)
    if place is None:
        return None
    worth = math.floor(count / inflation(samples, alike + math.sqrt((1 - alike * alike) / count)))
    if worth < count:
        half = t_quantile(level, max(min(worth, MOST_FREEDOM) - 1, 1)) / 2 / math.sqrt(worth)
        place = max(1, math.floor((0.5 - half) * (count + 1)))
    ordered = sorted(samples)
    return ordered[place - 1], ordered[-place]


def inflation(samples: Sequence[float], alike: float) -> float:
    """How many samples of a series in time are worth one independent sample to its median: at least 1.

    The larger of two estimates: by a first-order autoregression whose neighbours are correlated by `alike`, which a
    short series can tell; and by how far means of blocks of 2, 4, 8 ... of the sides of the median that the samples lie
    on differ more than chance would let them (batch means), which shows a slow drift beneath noise.
    """
    alike = min(max(alike, 0.0), MOST_ALIKE)
    worst = (1 + alike) / (1 - alike)
    sums, size = _sides(samples), 1
    spread = fmean(side * side for side in sums)
    while len(sums) // 2 >= FEWEST_BLOCKS:
        sums, size = [a + b for a, b in zip(sums[::2], sums[1::2], strict=False)], 2 * size
        worst = max(worst, statistics.variance(sums) / (size * spread) if spread else 1.0)
    return worst


def likeness(samples: Sequence[float]) -> float:
    """The correlation of neighbours in a normal process whose ranks are correlated as those of these samples (Pearson
    1907: 2 sin(pi r / 6)), below 1; mended for its bias in short series (Marriott and Pope, Biometrika 41, 1954)."""
    middle = (len(samples) + 1) / 2
    ranks = [rank - middle for rank in _ranks(samples)]
    power = sum(rank * rank for rank in ranks)
    if not power:
        return 0.0
    raw = 2 * math.sin(math.pi / 6 * sum(a * b for a, b in pairwise(ranks)) / power)
    return max(-MOST_ALIKE, min(raw + (1 + 3 * raw) / len(samples), MOST_ALIKE))


def _ranks(samples: Sequence[float]) -> list[float]:
    """The place of each sample among all, from 1; equal samples share the mean of theirs."""
    ranks = [0.0] * len(samples)
    place = 0
    for _, equal in groupby(sorted(range(len(samples)), key=samples.__getitem__), key=samples.__getitem__):
        alike = list(equal)
        for index in alike:
            ranks[index] = place + (len(alike) + 1) / 2
        place += len(alike)
    return ranks


def _sides(samples: Sequence[float]) -> list[float]:
    """1 above the median, -1 below it, 0 on it."""
    middle = median(samples)
    return [float((sample > middle) - (sample < middle)) for sample in samples]


@lru_cache(maxsize=1024)
def median_rank(count: int, level: float = LEVEL) -> int | None:
    """The largest k with P(k-th smallest < median < k-th largest) >= level; None if there is none."""
    sure = 0.0
    for rank in range(count // 2, 0, -1):
        sure += _binomial_half(count, rank) * (1 if 2 * rank == count else 2)
        if sure >= level:
            return rank
    return None


def _binomial_half(count: int, successes: int) -> float:
    """P(X = successes) for `count` tosses of a fair coin."""
    log_ways = math.lgamma(count + 1) - math.lgamma(successes + 1) - math.lgamma(count - successes + 1)
    return math.exp(log_ways - count * math.log(2))


def outliers(samples: Sequence[float]) -> Outliers:
    """The samples beyond Tukey's fences, counted by class (Exploratory Data Analysis, 2D)."""
    first, third = quantile(samples, 0.25), quantile(samples, 0.75)
    inner, outer = 1.5 * (third - first), 3.0 * (third - first)
    low_severe = sum(sample < first - outer for sample in samples)
    high_severe = sum(sample > third + outer for sample in samples)
    return Outliers(
        low_severe=low_severe,
        low_mild=sum(sample < first - inner for sample in samples) - low_severe,
        high_mild=sum(sample > third + inner for sample in samples) - high_severe,
        high_severe=high_severe,
    )


def t_inside(t: float, freedom: int) -> float:
    """P(|T| < t) of Student's t: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4."""
    angle = math.atan2(abs(t), math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(1, freedom // 2 + 1):
        total += term
        term *= cosine**2 * (2 * k / (2 * k + 1) if odd else (2 * k - 1) / (2 * k))
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def t_quantile(level: float, freedom: int) -> float:
    """Student's t with P(|T| < t) = level, by bisection to the last bit."""
    low, high = 0.0, 1.0
    while t_inside(high, freedom) < level:
        high *= 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if t_inside(middle, freedom) < level else (low, middle)
    return high
