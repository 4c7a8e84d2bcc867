from __future__ import annotations

import pytest
import torch

from dimbench.errors import UsageError
from dimbench.quality.kid import kernel_distance
from tests.quality.sets import normal

EXACT = 1e-10  # float64; the difference of sums loses a few digits


def test_two_points_each_have_a_closed_form() -> None:
    x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [3.0]])
    # k(x, x') = 3^3, k(y, y') = 1; between the sets 1, 4^3, 1, 7^3
    expected = 27 + 1 - 2 * (1 + 64 + 1 + 343) / 4
    mean, deviation = kernel_distance(x, y, subset_size=2, subsets=3)
    assert mean == pytest.approx(expected, rel=EXACT)
    assert deviation is None  # all subsets are the sets themselves


def test_the_estimate_is_unbiased() -> None:
    """Of equal distributions the mean over independent sets is zero within its standard error."""
    sets = normal(2 * 400 * 10, 4).reshape(400, 2, 10, 4)
    distances = torch.tensor([kernel_distance(x, y, subset_size=10, subsets=1)[0] for x, y in sets])
    standard_error = (distances.std() / 20).item()
    assert abs(distances.mean().item()) < 3 * standard_error
    assert standard_error < 0.5  # the biased estimate lies 0.8 higher


def test_the_kernel_does_not_grow_with_the_dimension() -> None:
    x, y = normal(50, 4), normal(50, 4, seed=1, mean=1)
    wide = kernel_distance(x.repeat(1, 3), y.repeat(1, 3), subset_size=20)
    assert wide == pytest.approx(kernel_distance(x, y, subset_size=20), rel=EXACT)


def test_subsets_follow_the_seed_alone() -> None:
    x, y = normal(60, 4), normal(50, 4, seed=1)
    torch.manual_seed(1)
    first = kernel_distance(x, y, subset_size=20)
    torch.manual_seed(2)
    assert kernel_distance(x, y, subset_size=20) == first
    assert kernel_distance(x, y, subset_size=20, seed=1) != first


def test_torch_fidelity_agrees() -> None:
    from torch_fidelity.metric_kid import kid_features_to_metric

    x, y = normal(120, 16), normal(90, 16, seed=1, mean=0.3)
    theirs = kid_features_to_metric(x, y, kid_subsets=20, kid_subset_size=50, verbose=False)
    assert kernel_distance(x, y, 50, 20) == pytest.approx(tuple(theirs.values()), rel=EXACT)


def test_features_in_float32_give_the_figure_of_float64() -> None:
    """Of the kind that Inception's are: not negative, with means well away from zero."""
    x, y = (normal(600, 2048, seed).relu().float() + mean for seed, mean in ((0, 0.0), (1, 0.05)))
    exact = kernel_distance(x.double(), y.double(), 500, 2)
    assert kernel_distance(x, y, 500, 2) == pytest.approx(exact, abs=1e-8)


@pytest.mark.parametrize("size", [1, 31])
def test_subsets_must_fit(size: int) -> None:
    with pytest.raises(UsageError, match=f"Subsets of {size} images cannot be drawn from 30: give 2 to 30"):
        kernel_distance(normal(40, 4), normal(30, 4), size)
