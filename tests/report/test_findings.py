from __future__ import annotations

import math

import pytest

from dimbench.errors import DimbenchError
from dimbench.report.findings import Outcome, gather, point
from tests.report.records import bench, compare, every_outcome, exact


def test_comparisons_come_with_the_gravest_first() -> None:
    found = gather(every_outcome())
    assert [(row.model, row.outcome, row.verdict) for row in found.comparisons] == [
        ("dit-xl2", Outcome.REGRESSION, "slower, confirmed"),
        ("dit-xl2", Outcome.REGRESSION, "worse, confirmed"),
        ("dit-xl2", Outcome.CHANGED, "changed"),
        ("dimsum-l2", Outcome.LOST, "changed"),
        ("udit-l", Outcome.UNCLEAR, "unclear"),
        ("sit-xl2", Outcome.UNCLEAR, "slower, not confirmed"),
        ("dim-h2", Outcome.BETTER, "faster, confirmed"),
        ("dit-xl2", Outcome.SAME, "same"),
        ("dit-xl2", Outcome.EQUAL, "equal"),
    ]


@pytest.mark.parametrize(
    ("records", "said", "tone"),
    [
        (
            every_outcome(),
            "2 regressions confirmed, 1 exact metric changed, 1 no longer measured, 2 unclear, 1 better, 1 same, "
            "1 exact metric unchanged.",
            "bad",
        ),
        ([compare("unclear", 1.04), compare(model="udit-l")], "No regression confirmed: 1 unclear, 1 same.", "warn"),
        ([exact("equal", 1, 1), exact("equal", 2, 2, "params")],
         "No regression confirmed: 2 exact metrics unchanged.", "good"),
        ([exact("changed", 1, 2)], "1 exact metric changed.", "bad"),
        ([bench(), bench("udit-l")], "Nothing was compared: 2 measurements of 2 models.", ""),
        ([bench(), bench(batch=64, seconds=None)],
         "Nothing was compared: 2 measurements of 1 model, 1 of them without a result.", "warn"),
    ],
)  # fmt: skip
def test_the_verdict_in_a_sentence(records: list[dict], said: str, tone: str) -> None:
    assert gather(records).verdict() == (said, tone)


def test_a_verdict_this_version_does_not_know_is_unclear() -> None:
    assert gather([compare("perhaps")]).comparisons[0].outcome is Outcome.UNCLEAR


def test_a_figure_without_a_base_is_unclear_and_one_that_was_lost_is_not() -> None:
    gone = compare("changed", None, base=None, new=0.1, margin=None, confirmed=True)
    assert gather([gone]).comparisons[0].outcome is Outcome.UNCLEAR
    lost = compare("changed", None, base=0.1, new=None, margin=None, confirmed=True)
    assert gather([lost]).comparisons[0].outcome is Outcome.LOST


def test_a_comparison_made_again_replaces_the_older_one() -> None:
    older, newer = compare("unclear", 1.04), {**compare("same"), "created": "2027-01-01T00:00:00+00:00"}
    assert [row.verdict for row in gather([newer, older]).comparisons] == ["same"]


def test_records_under_the_same_conditions_are_a_series_in_order_of_time() -> None:
    found = gather([bench(run=2), bench(run=0), bench(batch=8), bench(run=1)])
    assert [[record["created"][:10] for record in one.records] for one in found.series] == [
        ["2026-11-01", "2026-11-02", "2026-11-03"], ["2026-11-01"],
    ]  # fmt: skip


def test_a_point_has_the_interval_and_quartiles_of_its_samples() -> None:
    record = {**bench(), "samples": {"seconds": [float(k * 10 % 21 + 1) for k in range(21)]}}
    found = point(record, "seconds")
    assert found is not None
    assert (found.value, found.interval, found.quartiles, found.count) == (11.0, (6.0, 16.0), (6.0, 16.0), 21)
    assert point(bench(), "macs").interval is None  # type: ignore[union-attr]
    assert point(bench(seconds=None), "seconds") is None
    assert point({**bench(), "metrics": {"fid": math.nan}}, "fid") is None


def test_a_compare_record_that_lacks_a_part_is_named() -> None:
    record = compare()
    del record["details"]["verdict"]
    with pytest.raises(DimbenchError, match="compare record of dit-xl2 has no 'verdict'"):
        gather([record])
    record = compare()
    record["details"]["new_environment"] = [1]
    with pytest.raises(DimbenchError, match="compare record of dit-xl2 has no 'new_environment'"):
        gather([record])


def test_warnings_are_gathered_with_their_rows() -> None:
    records = [bench(seconds=None, batch=64), bench("udit-l", None, batch=64), bench("udit-l", None, batch=32)]
    assert list(gather(records).warnings().values()) == [["dit-xl2", "udit-l (batch 64)", "udit-l (batch 32)"]]
