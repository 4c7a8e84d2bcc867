"""Published FIDs against what followed their recipes."""

from __future__ import annotations

from typing import Any

import pytest

from dimbench import presets
from dimbench.errors import DimbenchError
from dimbench.papers.reached import Reach, check
from dimbench.report import quality

NAME = "dit-xl2-256-cfg1.5"  # 2.27


def record(fid: float, error: float | None = 0.01, pooled: bool = False, **conditions: Any) -> dict[str, Any]:
    metrics = {"fid_mean" if pooled else "fid": fid, **({} if error is None else {"fid_error": error})}
    given = {"num_images": 50_000, "weights": "0123", **conditions}
    created = "2026-01-01T00:00:00+00:00"
    return {"metrics": metrics, "conditions": given, "details": {"recipe": NAME}, "created": created}


def judged(*records: dict[str, Any]) -> tuple[Reach, str]:
    (found,) = check(presets.recipes(), list(records))
    return found.verdict, found.why


@pytest.mark.parametrize(
    ("fid", "error", "expected"),
    [
        (2.27, 0.01, Reach.YES),
        (2.10, 0.05, Reach.YES),
        (2.50, 0.05, Reach.NO),
        (2.27, 0.10, Reach.UNKNOWN),
        (2.29, 0.01, Reach.UNKNOWN),
    ],
)
def test_the_whole_interval_decides(fid: float, error: float, expected: Reach) -> None:
    assert judged(record(fid, error))[0] is expected


def test_less_than_a_training_moves_it_is_reached() -> None:
    assert judged(record(2.285, 0.001)) == (Reach.YES, "")  # 0.7 % above
    assert judged(record(2.31, 0.001))[0] is Reach.NO  # 1.8 % above


@pytest.mark.parametrize(
    ("conditions", "error", "why"),
    [
        ({"num_images": 10_000}, 0.01, "the claim is of 50,000 images"),
        ({"weights": "random"}, 0.01, "the weights were random"),
        ({}, None, "the record says no error of its figure"),
    ],
)
def test_what_cannot_be_told_says_why(conditions: dict[str, Any], error: float | None, why: str) -> None:
    assert judged(record(2.27, error, **conditions)) == (Reach.UNKNOWN, why)


def test_the_newest_speaks_and_pooled_seeds_are_one() -> None:
    older = {**record(9.9), "created": "2025-01-01T00:00:00+00:00"}
    assert judged(record(2.2, 0.01, pooled=True, repeats=3), older)[0] is Reach.YES


def test_what_was_followed_under_other_conditions_has_a_row_of_its_own() -> None:
    rows = [record(2.27, dtype="fp32", seed=1), record(2.6, dtype="bf16", seed=1), record(2.25, dtype="fp32", seed=2)]
    found = check(presets.recipes(), rows)
    assert [(each.fid, each.verdict, each.apart) for each in found] == [
        (2.25, Reach.YES, "dtype fp32"),
        (2.6, Reach.NO, "dtype bf16"),
    ]
    assert [row[0] for row in quality.reached(found).rows] == [f"{NAME} (dtype fp32)", f"{NAME} (dtype bf16)"]


def test_records_of_other_things_are_refused() -> None:
    with pytest.raises(DimbenchError, match="no record here followed"):
        check(presets.recipes(), [{**record(2.0), "details": {}}])
