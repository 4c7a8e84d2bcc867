from __future__ import annotations

import numpy as np
import pytest
import torch

from dimbench.errors import DimbenchError, UsageError
from dimbench.quality import statistics as module
from dimbench.quality.statistics import (
    RunningStatistics,
    Statistics,
    statistics_of,
)
from tests.quality.sets import normal

ROUNDING = 1e-13  # float64 sums over a hundred features of unit size, in another order
FAR = 1e6  # a mean at which the difference of two large sums would lose 12 of 16 digits
ROUNDING_FAR = 1e-9  # the features themselves lose 6 digits there: eps * FAR


def same(a: Statistics, b: Statistics, tolerance: float = ROUNDING) -> bool:
    return (
        a.n == b.n
        and torch.allclose(a.mu, b.mu, rtol=tolerance, atol=tolerance)
        and torch.allclose(a.sigma, b.sigma, rtol=tolerance, atol=tolerance)
    )


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_statistics_are_numpys_whatever_the_batch(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(module, "ROWS", 2)
    features = normal(100, 5)
    running = RunningStatistics(5)
    for part in features.split(batch):
        running.update(part)
    mu, sigma = features.mean(dim=0), torch.from_numpy(np.cov(features.numpy(), rowvar=False))
    assert same(running.result(), Statistics(mu, sigma, 100))


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    near, far = RunningStatistics(5), RunningStatistics(5)
    for part in normal(100, 5).split(7):
        near.update(part)
        far.update(part + FAR)
    assert torch.allclose(near.result().sigma, far.result().sigma, atol=ROUNDING_FAR)


def test_merged_parts_are_the_whole() -> None:
    features = normal(100, 5)
    parts = [RunningStatistics(5) for _ in range(3)]
    for part, rows in zip(parts, (features[:20], features[20:21], features[21:]), strict=True):
        part.update(rows)
    merged = RunningStatistics(5)
    for part in [RunningStatistics(5), *parts]:
        merged.merge(part)
    assert same(merged.result(), statistics_of(features))


def test_float32_features_are_summed_in_float64() -> None:
    features = (normal(1000, 3) + 100).float()
    assert same(statistics_of(features), statistics_of(features.double()))


def test_results_do_not_change_with_later_batches() -> None:
    running = RunningStatistics(5)
    running.update(normal(50, 5))
    before = running.result()
    running.update(normal(50, 5, seed=1))
    assert same(before, statistics_of(normal(50, 5)))


def test_other_dimensions_are_refused() -> None:
    with pytest.raises(UsageError, match="4 dimensions cannot join statistics of 5"):
        RunningStatistics(5).update(normal(10, 4))


def test_a_bad_batch_is_refused_and_not_counted() -> None:
    running = RunningStatistics(5)
    running.update(normal(50, 5))
    bad = normal(10, 5, seed=1)
    bad[2, 3] = torch.nan
    with pytest.raises(DimbenchError, match="The features of 1 of 10 images hold NaN"):
        running.update(bad)
    assert same(running.result(), statistics_of(normal(50, 5)))


def test_one_image_has_no_covariance() -> None:
    running = RunningStatistics(5)
    running.update(normal(1, 5))
    with pytest.raises(UsageError, match="1 image where at least 2"):
        running.result()
