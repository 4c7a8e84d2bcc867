from __future__ import annotations

import math

import pytest
import torch

from dimbench.errors import UsageError
from dimbench.quality.inception_score import inception_score
from tests.quality.sets import normal

EXACT = 1e-12  # float64
CERTAIN = 1000.0  # a logit whose softmax is 1 to the last bit


def certain(labels: list[int], classes: int) -> torch.Tensor:
    return CERTAIN * torch.nn.functional.one_hot(torch.tensor(labels), classes).double()


def test_certain_and_even_predictions_score_the_number_of_classes() -> None:
    assert inception_score(certain(list(range(5)) * 8, 5), splits=4) == pytest.approx((5, 0), rel=EXACT)


def test_equal_predictions_score_one() -> None:
    assert inception_score(normal(1, 7).expand(20, 7)) == pytest.approx((1, 0), rel=EXACT, abs=EXACT)


def test_two_classes_half_certain_have_a_closed_form() -> None:
    p = 0.8
    logits = torch.tensor([[math.log(p), math.log(1 - p)], [math.log(1 - p), math.log(p)]], dtype=torch.float64)
    expected = math.exp(p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5))
    assert inception_score(logits.repeat(5, 1), splits=5)[0] == pytest.approx(expected, rel=EXACT)


def test_splits_are_consecutive_and_their_deviation_is_of_the_population() -> None:
    labels = [0, 0, 0, 0, 0, 1, 2, 3]  # scores 1 and 4
    assert inception_score(certain(labels, 4), splits=2) == pytest.approx((2.5, 1.5), rel=EXACT)


@pytest.mark.parametrize("splits", [1, 10, 7])
def test_torch_fidelity_agrees(splits: int) -> None:
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = 3 * normal(103, 10)
    theirs = isc_features_to_metric(logits, splits=splits, shuffle=False)
    assert inception_score(logits, splits) == pytest.approx(tuple(theirs.values()), rel=EXACT, abs=EXACT)


@pytest.mark.parametrize("splits", [0, 21])
def test_more_splits_than_images_are_refused(splits: int) -> None:
    with pytest.raises(UsageError, match=f"20 images cannot be cut into {splits} splits"):
        inception_score(normal(20, 3), splits)
