from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dimbench.errors import DimbenchError, UsageError
from dimbench.quality.evaluate import evaluate
from dimbench.quality.frechet import frechet_distance
from dimbench.quality.frechet_error import of_infinitely_many, standard_error
from dimbench.quality.inception_score import inception_score
from dimbench.quality.kid import kernel_distance
from dimbench.quality.mind import monge_distance
from dimbench.quality.precision_recall import precision_recall
from dimbench.quality.statistics import statistics_of
from dimbench.quality.summary import FeatureSummary, summary_of
from tests.quality.sets import digit_features, normal

NAMES = ["fid", "fid_error", "fid_infinity", "is_mean", "is_std", "kid_mean", "kid_std", "mind", "precision", "recall"]


def fake(n: int, seed: int = 0, dimensions: int = 6, scale: float = 1.0) -> FeatureSummary:
    return summary_of({"pool": scale * normal(n, dimensions, seed), "logits": normal(n, 10, seed + 100)})


def test_every_metric_goes_the_right_way_round() -> None:
    found = evaluate(fake(200, scale=0.5), fake(150, seed=1))
    x, y = 0.5 * normal(200, 6), normal(150, 6, seed=1)
    seen, against = statistics_of(x), statistics_of(y)
    expected = [frechet_distance(seen, against), standard_error(x, seen, against)]
    expected += [of_infinitely_many(x, against, expected[0]), *inception_score(normal(200, 10, seed=100))]
    expected += [*kernel_distance(x, y, 75), monge_distance(x, y), *precision_recall(x, y)]
    assert dict(zip(NAMES, expected, strict=True)) == pytest.approx(found.metrics)
    assert found.metrics["precision"] > found.metrics["recall"]  # shrunk: faithful, less diverse
    assert (found.generated_images, found.reference_images) == (200, 150)


@pytest.mark.slow
def test_large_sets_need_no_warning() -> None:
    found = evaluate(fake(1001), fake(1002, seed=1))
    assert found.warnings == []
    assert list(found.metrics) == NAMES


def test_a_set_that_is_one_subset_gives_no_deviation_of_kid() -> None:
    found = evaluate(fake(1000), fake(1001, seed=1))
    assert found.warnings == ["The deviation of KID was not measured: the smaller set is one subset of 1000 images."]
    assert list(found.metrics) == [name for name in NAMES if name != "kid_std"]


@pytest.mark.parametrize("n", [50, None])
def test_few_and_constant_images_are_doubted(n: int | None) -> None:
    generated = fake(50)
    constant = FeatureSummary(replace(statistics_of(torch.ones(50, 6)), n=n))
    assert "The reference images vary in 0 of 6 directions" in evaluate(generated, constant).warnings[0]
    two = FeatureSummary(replace(statistics_of(normal(2, 6)), n=n and 2))
    (said, *_) = evaluate(generated, two).warnings
    assert ("the reference set has 2 images" if n else "The reference images vary in 1 of 6 directions") in said


def test_small_sets_are_warned_of() -> None:
    found = evaluate(fake(40), fake(6, seed=1))
    assert found.warnings == [
        "FID is biased upwards and its covariance singular: the reference set has 6 images for 6 feature dimensions, "
        "so give more images or read KID.",
        "KID was measured on subsets of 3 images instead of 1000: the smaller set has 6 images, so its deviation "
        "cannot be compared with published ones.",
    ]


def test_too_few_images_give_no_interval() -> None:
    found = evaluate(fake(23), fake(60, seed=1))
    assert "fid_error" not in found.metrics
    assert found.warnings[0] == "The error of FID was not measured: 23 images where 6 feature dimensions need 24."
    assert "fid_error" in evaluate(fake(24), fake(60, seed=1)).metrics


def test_what_cannot_be_measured_is_left_out_and_said() -> None:
    found = evaluate(fake(3), fake(50, seed=1))
    assert list(found.metrics) == ["fid"]
    assert [warning.split(" not measured")[0] for warning in found.warnings[1:]] == [
        "The error of FID was",
        "The Inception Score was",
        "KID, MIND, precision and recall were",
    ]


def test_statistics_serve_as_a_reference() -> None:
    generated, reference = fake(100), fake(80, seed=1)
    found = evaluate(generated, FeatureSummary(reference.pool))
    assert found.metrics["fid"] == evaluate(generated, reference).metrics["fid"]
    assert list(found.metrics) == NAMES[:5]
    assert found.reference_images == 80
    assert found.warnings == ["KID, MIND, precision and recall were not measured: the reference gives no features."]


def spatial(n: int, seed: int, dimensions: int = 5) -> FeatureSummary:
    """Without features, so that no kernels have to be computed."""
    return replace(fake(n, seed), spatial=statistics_of(normal(n, dimensions, seed + 50)), features=None)


def test_sfid_is_the_distance_of_spatial_statistics() -> None:
    found = evaluate(spatial(1000, 0), spatial(1001, 1))
    expected = frechet_distance(statistics_of(normal(1000, 5, 50)), statistics_of(normal(1001, 5, 51)))
    assert found.metrics["sfid"] == expected != found.metrics["fid"]
    assert not any("FID" in warning for warning in found.warnings)
    assert any(warning.startswith("sFID is biased") for warning in evaluate(spatial(5, 0), spatial(99, 1)).warnings)


def test_a_reference_without_spatial_statistics_is_said() -> None:
    found = evaluate(spatial(1000, 0), fake(1001, 1))
    assert "sfid" not in found.metrics
    assert found.warnings[0] == "sFID was not measured: the reference gives no spatial statistics."


def test_bad_sets_are_one_sentence() -> None:
    broken = {"pool": normal(20, 6), "logits": normal(20, 10)}
    broken["pool"][4] = torch.nan
    with pytest.raises(DimbenchError, match="features of 1 of 20 images hold NaN"):
        summary_of(broken)
    with pytest.raises(UsageError, match="set holds 1 image"):
        fake(1)
    with pytest.raises(UsageError, match="6 dimensions and the reference's 7"):
        evaluate(fake(20), fake(20, dimensions=7))


def test_noise_is_worse_than_digits_in_every_metric() -> None:
    real, held_out = digit_features("train"), digit_features("held-out")
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(len(real["pool"]), (500, 64), generator=generator)
    shuffled = {"pool": real["pool"].gather(0, rows), "logits": 0.1 * real["logits"][:500]}
    against = summary_of(held_out)
    good, bad = evaluate(summary_of(real), against).metrics, evaluate(summary_of(shuffled), against).metrics
    assert good["fid"] < 1 < bad["fid"]
    assert good["kid_mean"] < bad["kid_mean"]
    assert good["is_mean"] > 8 > bad["is_mean"]
    assert min(good["precision"], good["recall"]) > 0.85 > max(bad["precision"], bad["recall"])
