from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg

from dimbench.errors import DimbenchError
from dimbench.quality.frechet import frechet_distance
from dimbench.quality.statistics import Statistics, statistics_of
from tests.quality.sets import gaussian, normal

EXACT = 1e-12  # two eigendecompositions in float64, relative to traces of about 10
# The square root of a zero eigenvalue known to 1e-16 is known to 1e-8.
SINGULAR = 1e-6


def diagonal(mu: list[float], deviations: list[float]) -> Statistics:
    return Statistics(torch.tensor(mu).double(), torch.tensor(deviations).double().square().diag(), None)


def test_diagonal_gaussians_have_a_closed_form() -> None:
    a, b = diagonal([0.0, 1.0, 2.0], [1.0, 2.0, 3.0]), diagonal([1.0, 1.0, 4.0], [2.0, 2.0, 0.5])
    assert frechet_distance(a, b) == pytest.approx((1 + 0 + 4) + (1 + 0 + 6.25), rel=EXACT)


def test_scaled_covariances_have_a_closed_form() -> None:
    a = gaussian(10)
    b = Statistics(a.mu, 4 * a.sigma, None)
    assert frechet_distance(a, b) == pytest.approx(a.sigma.trace().item(), rel=EXACT)  # (1 + 4 - 2 * 2) tr A


def test_a_shift_counts_squared() -> None:
    features = normal(200, 6)
    distance = frechet_distance(statistics_of(features), statistics_of(features + 3))
    assert distance == pytest.approx(6 * 9, rel=EXACT)


@pytest.mark.parametrize("rank", [None, 5])
def test_a_set_is_at_no_distance_from_itself(rank: int | None) -> None:
    a = gaussian(30, rank=rank)
    assert 0 <= frechet_distance(a, a) < SINGULAR


def test_the_distance_is_symmetric() -> None:
    a, b = gaussian(12), gaussian(12, seed=1)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=EXACT)


def test_statistics_whose_squares_overflow_have_no_distance() -> None:
    far = Statistics(torch.full((3,), 1e200, dtype=torch.float64), torch.eye(3, dtype=torch.float64), None)
    with pytest.raises(DimbenchError, match=r"statistics as large as 1e\+200 have no distance"):
        frechet_distance(far, Statistics(torch.zeros(3, dtype=torch.float64), far.sigma, None))


def test_one_image_repeated_is_a_point() -> None:
    point = Statistics(torch.zeros(6).double(), torch.zeros(6, 6).double(), 9)
    other = gaussian(6)
    expected = (other.mu @ other.mu + other.sigma.trace()).item()
    assert frechet_distance(point, other) == pytest.approx(expected, rel=EXACT)
    assert frechet_distance(other, point) == pytest.approx(expected, rel=EXACT)


@pytest.mark.parametrize(("rank", "tolerance"), [(None, 1e-10), (7, SINGULAR)])
def test_the_product_square_root_of_scipy_agrees(rank: int | None, tolerance: float) -> None:
    a, b = gaussian(24, rank=rank), gaussian(24, seed=1)
    root = np.real(linalg.sqrtm((a.sigma @ b.sigma).numpy()))
    expected = ((a.mu - b.mu).square().sum() + a.sigma.trace() + b.sigma.trace()).item() - 2 * np.trace(root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=tolerance)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=tolerance)


def test_a_covariance_that_single_precision_made_indefinite() -> None:
    """Stored in float32 a singular covariance has negative eigenvalues that are no rounding of float64."""
    a, b = gaussian(40, rank=9), gaussian(40, seed=1)
    stored = Statistics(a.mu, a.sigma.float().double(), None)
    assert torch.linalg.eigvalsh(stored.sigma).min() < -1e-9
    # An eigenvalue off by 1e-7 has a root off by 3e-4, and a dozen of them are seen.
    assert frechet_distance(stored, b) == pytest.approx(frechet_distance(a, b), abs=5e-3)
    assert frechet_distance(b, stored) == pytest.approx(frechet_distance(a, b), abs=5e-3)


def test_fewer_images_than_dimensions() -> None:
    """Sets in planes that meet at a right angle share nothing: the distance is the sum of the traces."""
    features = normal(20, 30)
    a, b = features.clone(), features.clone()
    a[:, 15:] = 0
    b[:, :15] = 0
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    first, second = statistics_of(a), statistics_of(b)
    expected = (first.sigma.trace() + second.sigma.trace()).item()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=EXACT)
