from __future__ import annotations

import pytest

from dimbench.bench import hardware
from dimbench.bench import rows as plan
from dimbench.bench.rows import Row
from dimbench.errors import UsageError

ROW = {"model": "dit-s8", "resolution": 256}


def test_rows_are_all_combinations_in_order() -> None:
    found = plan.rows(["dit-s8", "dit-digits"], {"resolution": [None], "batch": [1, "best"]}, threads=2)
    assert [(row.model, row.resolution, row.batch) for row in found] == [
        ("dit-s8", 256, 1),
        ("dit-s8", 256, "best"),
        ("dit-digits", 8, 1),
        ("dit-digits", 8, "best"),
    ]
    assert {row.threads for row in found} == {2}


def test_two_words_for_one_size_are_one_row() -> None:
    sizes: list[int | str] = [256, "256x256", "128x256"]
    assert [row.resolution for row in plan.rows(["dit-s8"], {"resolution": sizes})] == [256, "128x256"]
    assert len(plan.rows(["wan2.1-1.3b"], {"resolution": [480, "480x480"]})) == 2, "480 is the height of its own shape"


def test_the_budget_is_no_part_of_a_rows_identity() -> None:
    assert Row(**ROW, budget=1.0).key == Row(**ROW, budget=2.0).key
    assert Row(**ROW, batch=2).key != Row(**ROW).key


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch": 0}, "batch 0"),
        ({"budget": 0}, "budget of 0 seconds"),
        ({"threads": 0}, "0 threads"),
        ({"cuda_graph": True}, "--cuda-graph needs a GPU"),
        ({"cuda_graph": True, "device": "cuda", "mode": "train"}, "mode train"),
        ({"dtype": "tf32"}, "tf32 is a mode of NVIDIA GPUs"),
        ({"dtype": "fp16", "device": "cuda", "mode": "train"}, "loss scaling"),
        ({"steps": 5, "mode": "train"}, "--steps is for sampling"),
        ({"steps": 0, "mode": "sample"}, "0 steps"),
        ({"cfg": True}, "--cfg was given without --steps"),
        ({"decode": True}, "--decode was given without --steps"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan.check(Row(**{**ROW, **settings}))  # type: ignore[arg-type]


def test_fp16_is_refused_where_the_cpu_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row(**ROW, dtype="fp16")
    monkeypatch.setattr(hardware, "has_float16", lambda: False)
    with pytest.raises(UsageError, match="does not compute in float16"):
        plan.check(row)
    monkeypatch.setattr(hardware, "has_float16", lambda: True)
    plan.check(row)


def test_lists_of_numbers() -> None:
    assert plan.whole_numbers("--batch", "1, 8,best,8", 100, ("best",)) == [1, 8, "best"]
    for text in ("", "0", "1,,2", "x", "-3", "best"):
        with pytest.raises(UsageError, match="--resolution"):
            plan.whole_numbers("--resolution", text, 100)
