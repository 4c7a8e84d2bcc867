from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dimbench.errors import DimbenchError, UsageError
from dimbench.quality.frechet import frechet_distance
from dimbench.quality.inception_score import inception_score
from dimbench.quality.kid import kernel_distance
from dimbench.quality.precision_recall import precision_recall
from dimbench.quality.statistics import statistics_of
from tests.quality.sets import gaussian, normal

OF_ONE_SET: list[Callable[[Tensor], object]] = [statistics_of, inception_score]
OF_TWO_SETS: list[Callable[[Tensor], object]] = [
    lambda features: kernel_distance(features, normal(20, 4), 5),
    lambda features: kernel_distance(normal(20, 4), features, 5),
    lambda features: precision_recall(features, normal(20, 4)),
    lambda features: precision_recall(normal(20, 4), features),
]


@pytest.mark.parametrize("metric", OF_ONE_SET + OF_TWO_SETS)
@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_features_that_are_no_numbers_are_counted(metric: Callable[[Tensor], object], bad: float) -> None:
    features = normal(20, 4, seed=1)
    features[3, 1] = features[3, 2] = features[7, 0] = bad
    with pytest.raises(DimbenchError, match=r"of 2 of 20 images hold NaN or infinity .* diverged"):
        metric(features)


@pytest.mark.parametrize("metric", OF_ONE_SET + OF_TWO_SETS)
def test_one_image_is_too_few(metric: Callable[[Tensor], object]) -> None:
    with pytest.raises(UsageError, match="set holds 1 image where at least 2 are needed"):
        metric(normal(1, 4))


@pytest.mark.parametrize("metric", OF_ONE_SET + OF_TWO_SETS)
def test_images_are_not_features(metric: Callable[[Tensor], object]) -> None:
    with pytest.raises(UsageError, match=r"shape \(20, 3, 8, 8\) where \(images, dimensions\) was expected"):
        metric(torch.zeros(20, 3, 8, 8))


@pytest.mark.parametrize("metric", OF_TWO_SETS)
def test_unlike_dimensions_are_named(metric: Callable[[Tensor], object]) -> None:
    with pytest.raises(UsageError, match="same extractor"):
        metric(normal(20, 5))


def test_unlike_dimensions_of_statistics_are_named() -> None:
    with pytest.raises(UsageError, match="generated features have 3 dimensions and the reference's 4"):
        frechet_distance(gaussian(3), gaussian(4))
