from __future__ import annotations

import math
import random

import numpy as np
import pytest
import scipy.stats

from dimbench import stats


@pytest.mark.parametrize("count", [1, 5, 6, 7, 20, 21, 480, 5000])
def test_the_interval_takes_the_narrowest_ranks_that_are_sure_enough(count: int) -> None:
    def coverage(rank: int) -> float:
        return float(1 - 2 * scipy.stats.binom.cdf(rank - 1, count, 0.5))

    rank = stats.median_rank(count)
    if rank is None:
        assert coverage(1) < stats.LEVEL
    else:
        assert coverage(rank) >= stats.LEVEL > coverage(rank + 1)


def test_the_interval_covers_the_true_median_as_often_as_it_says() -> None:
    draw = random.Random(0)
    trials, count = 400, 200
    held = 0
    for _ in range(trials):
        low, high = stats.median_interval([draw.expovariate(1.0) for _ in range(count)]) or (0.0, 0.0)
        held += low < np.log(2) < high
    # Standard error at 95 %: 0.011. The widening for a correlation that is only estimated is one of it.
    assert 0.95 - 2 * 0.011 < held / trials < 0.99


def test_the_interval_of_a_known_series() -> None:
    samples = [float(value) for half in zip(range(1, 11), range(11, 21), strict=True) for value in half]  # 1, 11, 2 ...
    assert stats.likeness(samples) < -0.4
    assert stats.median(samples) == 10.5
    assert stats.median_interval(samples) == (6.0, 15.0)  # ranks 6 and 15: 95.9 %
    assert stats.median_interval(samples[:5]) is None


def test_samples_in_a_row_are_worth_fewer() -> None:
    assert stats.median_interval([float(value) for value in range(20)]) is None  # one long drift
    halves = [1.0] * 500 + [2.0] * 500  # a clock that changed once: two samples' worth
    assert stats.inflation(halves, stats.likeness(halves)) > 1000 / 6
    assert stats.inflation([1.0] * 50, 0.0) == 1  # nothing differs


def test_a_correlation_that_few_samples_estimate_widens_the_interval() -> None:
    lot, state, samples = random.Random(0), 0.0, []
    for _ in range(57):
        state = 0.8 * state + 0.6 * lot.gauss()
        samples.append(state)
    alike, error = stats.likeness(samples), (1 - stats.likeness(samples) ** 2) ** 0.5 / 57**0.5
    assert 57 / stats.inflation(samples, alike) == pytest.approx(15, abs=1)
    assert 57 / stats.inflation(samples, alike + error) == pytest.approx(10, abs=1)
    # Worth 10: Student's t is 2.262, half the width in ranks 58 x 2.262 / 2 / sqrt(10) = 20.7 of 29.
    ordered = sorted(samples)
    assert stats.median_interval(samples) == (ordered[8 - 1], ordered[-8])


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_slow_drift_beneath_noise_is_seen_by_blocks(share: float) -> None:
    """Neighbours of such a series are hardly alike; its median wanders as if it had a 20th of its samples."""
    lot, drift, samples = random.Random(0), 0.0, []
    for _ in range(16_000):
        drift = 0.98 * drift + 0.199 * lot.gauss()
        samples.append(share**0.5 * drift + (1 - share) ** 0.5 * lot.gauss())
    alike = stats.likeness(samples)
    assert alike < 0.5
    expected = 1 + share * 2 * 0.98 / 0.02 * 2 / np.pi  # of signs, whose correlation is about 2 / pi of the values'
    assert expected / 2 < stats.inflation(samples, alike) < 2.5 * expected


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.9])
def test_likeness_is_the_correlation_of_neighbours(alike: float) -> None:
    lot, state, samples = random.Random(1), 0.0, []
    for _ in range(20_000):
        state = alike * state + (1 - alike**2) ** 0.5 * lot.gauss()
        samples.append(math.exp(state))
    # The standard error is below 0.008 for each of the three.
    assert stats.summarise(samples).neighbours == pytest.approx(alike, abs=0.03)


def test_equal_samples_share_their_rank() -> None:
    assert stats._ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]
    assert stats.likeness([1.0] * 9) == 0.0


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_quantiles_are_numpys(share: float, count: int) -> None:
    samples = np.random.default_rng(count).lognormal(size=count).tolist()
    assert stats.quantile(samples, share) == pytest.approx(np.quantile(samples, share), rel=1e-12)


def test_outliers_are_classified_by_both_fences() -> None:
    # The quartiles of 0..8 are 2 and 6: fences at -4 and 12 (mild), -10 and 18 (severe); the additions keep them near.
    middle = [float(value) for value in range(9)] * 50
    found = stats.outliers([*middle, -5.0, -11.0, 13.0, 13.0, 19.0, 19.0, 19.0])
    assert (found.low_severe, found.low_mild, found.high_mild, found.high_severe) == (1, 1, 2, 3)
    assert found.total == 7


def test_percentiles_wait_for_enough_samples() -> None:
    def summary(count: int) -> stats.Summary:
        return stats.summarise([float(value) for value in range(count)])

    assert summary(49).p90 is None
    assert summary(50).p90 == pytest.approx(44.1)
    assert summary(999).p99 is None
    assert summary(1000).p99 == pytest.approx(989.01)


def test_a_summary_in_shares() -> None:
    summary = stats.summarise([10.0, 10.0, 10.0, 10.0, 11.0, 9.0, 12.0, 10.0, 10.0, 10.0])
    assert (summary.median, summary.low, summary.high) == (10.0, 10.0, 11.0)
    assert summary.margin == pytest.approx(0.05)
    assert summary.spread == 0.0
    assert stats.summarise([1.0]).margin is None
    assert [stats.summarise([1.0] * count).iqr for count in (1, 3, 4)] == [None, None, 0.0]
