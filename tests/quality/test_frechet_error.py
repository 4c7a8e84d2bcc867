"""The error of a Frechet distance, and where it goes with ever more images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dimbench.quality.frechet import frechet_distance
from dimbench.quality.frechet_error import of_infinitely_many, standard_error
from dimbench.quality.statistics import Statistics, statistics_of
from dimbench.stats import NORMAL
from tests.quality.sets import covariance, gaussian, normal


def test_in_one_dimension_it_has_a_closed_form() -> None:
    """The distance is (a - b)^2 + (s - r)^2, whose derivative by a is 2 (a - b), by the variance 1 - r / s."""
    features, reference = (
        normal(300, 1, mean=2.0),
        Statistics(torch.tensor([0.5]).double(), torch.tensor([[9.0]]).double(), None),
    )
    seen = statistics_of(features)
    c, s = features - seen.mu, seen.sigma.sqrt()
    moved = 2 * c * (seen.mu - 0.5) + c.square() * (1 - 3 / s)
    assert standard_error(features, seen, reference) == pytest.approx((moved.std() / 300**0.5).item(), rel=1e-10)


def jackknife(features: Tensor, reference: Statistics) -> float:
    n, keep = len(features), ~torch.eye(len(features), dtype=torch.bool)
    left = torch.tensor([frechet_distance(statistics_of(features[rows]), reference) for rows in keep])
    return ((n - 1) * left.var(correction=0)).sqrt().item()


def test_the_jackknife_finds_the_same() -> None:
    features = normal(200, 4) @ torch.linalg.cholesky(covariance(4, 3)).T + 0.3
    found = standard_error(features, statistics_of(features), reference := gaussian(4, 5))
    assert found == pytest.approx(jackknife(features, reference), rel=0.05)


def test_neither_scale_nor_directions_nor_dead_features_matter() -> None:
    features, reference = normal(200, 5, mean=0.2), gaussian(5)
    plain = standard_error(features, statistics_of(features), reference)
    turn, _ = torch.linalg.qr(normal(5, 5, seed=9))
    wide = torch.cat([3 * features @ turn, torch.zeros(200, 2)], dim=1)
    widened = torch.zeros(7, 7, dtype=torch.float64)
    widened[:5, :5] = 9 * turn.T @ reference.sigma @ turn
    seen = Statistics(torch.cat([3 * reference.mu @ turn, torch.zeros(2)]), widened, None)
    assert standard_error(wide, statistics_of(wide), seen) == pytest.approx(9 * plain, rel=1e-8)


def test_the_interval_holds_what_it_is_of() -> None:
    reference = gaussian(4, 2)
    draws = [normal(200, 4, seed) for seed in range(100)]
    found = [(frechet_distance(seen := statistics_of(x), reference), standard_error(x, seen, reference)) for x in draws]
    distances, errors = torch.tensor(found).T
    held = (distances - distances.mean()).abs() <= NORMAL * errors
    assert held.double().mean() >= 0.9


def test_with_ever_more_images_the_bias_is_gone() -> None:
    reference = Statistics(torch.zeros(8).double(), torch.eye(8).double(), None)
    few = [normal(160, 8, seed) for seed in range(40)]
    distances = [frechet_distance(statistics_of(x), reference) for x in few]
    ends = [of_infinitely_many(x, reference, distance) for x, distance in zip(few, distances, strict=True)]
    bias, left = sum(distances) / 40, sum(ends) / 40
    assert bias > 0.1
    assert abs(left) < bias / 10


def test_images_in_the_order_of_their_labels_are_mixed() -> None:
    """Four classes one after the other: each quarter in order would be one class alone."""
    features = normal(800, 3) + 5 * torch.arange(4).repeat_interleave(200)[:, None]
    whole = statistics_of(features)
    assert abs(of_infinitely_many(features, whole, 0.0)) < 1
