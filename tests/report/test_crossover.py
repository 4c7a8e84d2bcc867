from __future__ import annotations

import pytest

from dimbench.report import crossover
from dimbench.report.crossover import Crossing
from dimbench.report.curves import Curve, TimedPoint, bundles
from dimbench.results import Record


def exact(curve: dict[float, float]) -> Curve:
    return {x: TimedPoint(value, value, value) for x, value in curve.items()}


def power(factor: float, exponent: float) -> Curve:
    return exact({float(x): factor * x**exponent for x in (256, 512, 1024, 2048)})


def record(
    model: str, resolution: int, seconds: float | None, spread: float | None = 0.01, **conditions: object
) -> Record:
    same = {"mode": "inference", "dtype": "bf16", "batch": 1, "resolution": resolution, **conditions}
    bounds = (
        {} if not seconds or spread is None else {"seconds_low": seconds - spread, "seconds_high": seconds + spread}
    )
    return Record("bench", model, same, {"seconds": seconds, "macs": 10.0, **bounds})


def test_powers_cross_where_algebra_says() -> None:
    # x^4 = c x^2 at x = sqrt(c)
    curves = {"attention": power(1.0, 4), "mamba": power(700.0**2, 2)}
    (found,) = crossover.crossings("attention", "mamba", curves)
    assert (found.winner, found.loser, found.after, found.before) == ("mamba", "attention", 512, 1024)
    assert found.at == pytest.approx(700.0, rel=1e-12)
    assert crossover.crossings("mamba", "attention", curves) == [found]


def test_curves_that_cross_twice_and_that_only_touch() -> None:
    flat = {1.0: 1.0, 2.0: 1.0, 4.0: 1.0, 8.0: 1.0}
    twice = {1.0: 2.0, 2.0: 0.5, 4.0: 0.5, 8.0: 2.0}
    names = [
        (c.winner, c.loser) for c in crossover.crossings("twice", "flat", {"twice": exact(twice), "flat": exact(flat)})
    ]
    assert names == [("twice", "flat"), ("flat", "twice")]
    touching = {1.0: 2.0, 2.0: 1.0, 4.0: 2.0, 8.0: 2.0}
    assert crossover.crossings("touching", "flat", {"touching": exact(touching), "flat": exact(flat)}) == []


def test_a_crossing_at_a_measured_point_is_found_once() -> None:
    curves = {"a": exact({1.0: 2.0, 2.0: 1.0, 4.0: 0.5}), "b": exact({1.0: 1.0, 2.0: 1.0, 4.0: 1.0})}
    assert crossover.crossings("a", "b", curves) == [Crossing("a", "b", pytest.approx(2.0), 1.0, 4.0)]


def test_only_places_that_both_have_count() -> None:
    assert crossover.crossings("a", "b", {"a": exact({1.0: 1.0, 4.0: 9.0}), "b": exact({1.0: 2.0, 2.0: 2.0})}) == []


def test_the_table_says_who_overtakes_whom_and_where() -> None:
    records = [record("a", 256, 1.0), record("b", 256, 2.0), record("a", 1024, 8.0), record("b", 1024, 4.0)]
    (table,) = crossover.tables(records, "resolution", "px")
    assert list(table.rows) == [
        ("time", "b", "overtakes", "a", "at 512 px, between 256 and 1024"),
        ("MACs", "a", "equal to", "b", "from 256 to 1024 px"),
    ]


@pytest.mark.parametrize("spread", [0.6, None])
def test_what_may_be_chance_is_no_crossover(spread: float | None) -> None:
    """The medians cross; their intervals overlap, or there are none."""
    records = [record("a", 256, 1.0, spread), record("b", 256, 2.0, spread)]
    records += [record("a", 1024, 8.0, spread), record("b", 1024, 7.5, spread)]
    (table,) = crossover.tables(records, "resolution", "px")
    assert table.rows[0] == ("time", "a", "not told apart from", "b", "from 256 to 1024 px")


def test_processes_of_the_same_code_differ_by_more_than_their_intervals() -> None:
    records = [record("a", 256, 1.0, 0.001), record("b", 256, 1.03, 0.001)]
    records += [record("a", 1024, 1.03, 0.001), record("b", 1024, 1.0, 0.001)]
    (table,) = crossover.tables(records, "resolution", "px")
    assert table.rows[0][2] == "not told apart from"
    (table,) = crossover.tables(
        [record(r.model, r.conditions["resolution"], r.metrics["seconds"], 0.001, device="cuda") for r in records],
        "resolution",
        "px",
    )
    assert table.rows[0][2] == "overtakes"  # a GPU repeats better


def test_a_place_that_is_not_sure_does_not_move_the_crossover() -> None:
    records = [record("a", side, seconds, 0.1) for side, seconds in ((256, 1.0), (512, 2.0), (1024, 8.0))]
    records += [record("b", side, seconds, 0.1) for side, seconds in ((256, 2.0), (512, 1.95), (1024, 4.0))]
    (table,) = crossover.tables(records, "resolution", "px")
    assert table.rows[0] == ("time", "b", "overtakes", "a", "at 512 px, between 256 and 1024")


@pytest.mark.parametrize(
    "change",
    [{"dtype": "fp32"}, {"decoded": True}, {"batch": 8}, {"threads": 4}, {"guided": True}, {"of tomorrow": 1}],
    ids=str,
)
def test_unlike_rows_lie_on_different_curves(change: dict[str, object]) -> None:
    records = [record("a", 256, 1.0), record("b", 256, 2.0, **change)]
    records += [record("a", 512, 1.0), record("b", 512, 2.0, **change)]
    assert crossover.tables(records, "resolution", "px") == []


@pytest.mark.parametrize("condition", ["kernel", "form", "sampler", "weights"])
def test_one_more_record_of_another_kernel_does_not_turn_the_answer_round(condition: str) -> None:
    records = [record(m, side, s, **{condition: "first"}) for m, side, s in (("a", 256, 1.0), ("b", 256, 2.0))]
    records += [record(m, side, s, **{condition: "first"}) for m, side, s in (("a", 1024, 8.0), ("b", 1024, 4.0))]
    records.append(record("b", 1024, 40.0, **{condition: "second"}))
    (table,) = crossover.tables(records, "resolution", "px")
    assert table.rows[0] == ("time", f"b ({condition} first)", "overtakes", "a", "at 512 px, between 256 and 1024")


def test_a_curve_needs_figures_and_takes_the_newest() -> None:
    records = [record("a", 256, 1.0), record("a", 512, None), record("a", 256, 2.0)]
    (bundle,) = bundles([r.as_dict() for r in records], "resolution")
    (curve,) = bundle.curves("seconds").values()
    assert {place: found.value for place, found in curve.items()} == {256.0: 2.0}
