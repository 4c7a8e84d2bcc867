from __future__ import annotations

import math

import pytest
from scipy import stats

from dimbench import stats as ours

TOLERANCE = 1e-12  # sums of at most 40 terms in float64


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 10, 39, 78])
@pytest.mark.parametrize("t", [0.0, 0.3, 2.2, 40.0])
def test_distribution_is_scipys(freedom: int, t: float) -> None:
    assert ours.t_inside(t, freedom) == pytest.approx(1 - 2 * stats.t.sf(t, freedom), abs=TOLERANCE)
    assert ours.t_inside(-t, freedom) == ours.t_inside(t, freedom)


def test_closed_forms_of_one_and_two_degrees() -> None:
    assert ours.t_inside(1, 1) == pytest.approx(0.5, abs=TOLERANCE)  # Cauchy
    assert ours.t_inside(1.5, 2) == pytest.approx(1.5 / math.sqrt(2 + 1.5**2), abs=TOLERANCE)


@pytest.mark.parametrize("freedom", [1, 2, 9, 39])
def test_quantile_inverts_the_distribution(freedom: int) -> None:
    for level in (0.5, 0.95, 0.999):
        assert ours.t_inside(ours.t_quantile(level, freedom), freedom) == pytest.approx(level, abs=TOLERANCE)
