from __future__ import annotations

import hashlib

import pytest
import torch

from dimbench.errors import DimbenchError
from dimbench.quality.evaluate import evaluate
from dimbench.quality.features import create_extractor
from dimbench.quality.summary import Summariser, summarise, summary_of
from tests.quality.sets import digit_features, digit_images, normal

SUMS = 1e-12  # float64 sums in another order


@pytest.mark.parametrize("batch", [1, 64, 503])
def test_metrics_do_not_depend_on_the_batch(batch: int) -> None:
    """FID of one image at a time is that of all at once, and a streamed set that of one held whole."""
    images = digit_images("held-out")
    reference = summary_of(digit_features("train"))
    seen: list[int] = []
    streamed = summarise(create_extractor("digits-classifier"), images.split(batch), 503, on_images=seen.append)
    whole = evaluate(summary_of(digit_features("held-out")), reference).metrics
    assert evaluate(streamed, reference).metrics == pytest.approx(whole, rel=1e-9)
    assert seen[-1] == 503


def test_a_set_is_at_no_distance_from_itself() -> None:
    same = summary_of(digit_features("held-out"))
    metrics = evaluate(same, same).metrics
    assert 0 <= metrics["fid"] < 1e-6  # the square root of rounding
    assert (metrics["precision"], metrics["recall"]) == (1, 1)


@pytest.mark.parametrize(
    ("total", "keep", "expected"), [(10, 3, [3, 6, 9]), (5, 5, [0, 1, 2, 3, 4]), (4, 9, [0, 1, 2, 3])]
)
def test_features_that_are_kept_are_spread_evenly(total: int, keep: int, expected: list[int]) -> None:
    pool = torch.arange(total).double()[:, None].expand(total, 2)
    summariser = Summariser(total, keep)
    for rows in pool.split(3):
        summariser.update({"pool": rows, "logits": normal(len(rows), 3)})
    kept = summariser.result().features
    assert kept is not None
    assert kept[:, 0].tolist() == expected


def test_pixels_are_hashed_as_rows_with_the_channel_last() -> None:
    images = digit_images("held-out")[:20]
    summary = summarise(create_extractor("digits-classifier"), images.split(6), 20)
    each = [hashlib.sha256(image.permute(1, 2, 0).numpy().tobytes()).digest() for image in images.expand(-1, 3, -1, -1)]
    assert summary.pixels_sha256 == hashlib.sha256(b"".join(each)).hexdigest()


def test_images_that_did_not_come_are_missed() -> None:
    with pytest.raises(DimbenchError, match="19 images came where 20 were announced"):
        summarise(create_extractor("digits-classifier"), [digit_images("held-out")[:19]], 20)


def test_few_images_have_no_score() -> None:
    assert summary_of({"pool": normal(9, 3), "logits": normal(9, 3)}).score is None
    assert summary_of({"pool": normal(10, 3), "logits": normal(10, 3)}).score is not None
