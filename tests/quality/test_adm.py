"""The metrics beside plain numpy versions of what ADM's evaluator defines, on one set of features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg
from scipy.spatial.distance import cdist
from torch import Tensor

from dimbench.quality.evaluate import evaluate
from dimbench.quality.precision_recall import precision_recall
from dimbench.quality.statistics import statistics_of
from dimbench.quality.summary import FeatureSummary, summary_of
from tests.quality.sets import digit_features, normal

# Sums and decompositions in float64; scipy's matrix square root is the less exact one.
CLOSE = 1e-7


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = linalg.sqrtm(a @ b).real
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * np.trace(root))


def score(logits: np.ndarray, split_size: int) -> float:
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    parts = [p[i : i + split_size] for i in range(0, len(p), split_size)]
    return float(np.mean([np.exp((q * (np.log(q) - np.log(q.mean(0)))).sum(1).mean()) for q in parts]))


def share_within(points: np.ndarray, centres: np.ndarray, k: int = 3) -> float:
    radii = np.sort(cdist(centres, centres))[:, k]
    return float((cdist(points, centres) <= radii).any(1).mean())


@pytest.fixture(scope="module")
def sets() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    train, held_out = digit_features("train"), digit_features("held-out")
    return {name: rows[:1000] for name, rows in train.items()}, held_out


def spatial(features: dict[str, Tensor]) -> Tensor:
    """Stand-ins that lie between the pool features of an image and nothing."""
    return features["pool"][:, :40] + 0.1 * normal(len(features["pool"]), 40)


def summary(features: dict[str, Tensor]) -> FeatureSummary:
    both = {**features, "spatial": spatial(features)}
    return summary_of(both)


def test_every_metric_is_adms(sets: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    generated, reference = sets
    found = evaluate(summary(generated), summary(reference)).metrics
    x, y = generated["pool"].numpy(), reference["pool"].numpy()
    assert found["fid"] == pytest.approx(frechet(x, y), rel=CLOSE)
    assert found["sfid"] == pytest.approx(frechet(spatial(generated).numpy(), spatial(reference).numpy()), rel=CLOSE)
    assert found["is_mean"] == pytest.approx(score(generated["logits"].numpy(), 100), rel=CLOSE)
    assert found["precision"] == pytest.approx(share_within(x, y), abs=CLOSE)
    assert found["recall"] == pytest.approx(share_within(y, x), abs=CLOSE)


def test_statistics_of_the_whole_and_features_of_a_part_make_a_reference(
    sets: tuple[dict[str, Tensor], dict[str, Tensor]],
) -> None:
    """As in ADM's files: FID against all real images, precision and recall against 10,000 of them."""
    generated, reference = sets
    part = reference["pool"][:200]
    found = evaluate(summary_of(generated), FeatureSummary(statistics_of(reference["pool"]), features=part)).metrics
    assert found["fid"] == pytest.approx(frechet(generated["pool"].numpy(), reference["pool"].numpy()), rel=CLOSE)
    expected = precision_recall(generated["pool"], part)
    assert (found["precision"], found["recall"]) == expected
    assert not torch.equal(statistics_of(part).mu, statistics_of(reference["pool"]).mu)
