from __future__ import annotations

import pytest

from dimbench.report import crossover
from dimbench.report.crossover import Crossing
from dimbench.results import Record


def power(factor: float, exponent: float) -> dict[float, float]:
    return {float(x): factor * x**exponent for x in (256, 512, 1024, 2048)}


def record(model: str, resolution: int, seconds: float | None, **conditions: object) -> Record:
    same = {"mode": "inference", "dtype": "bf16", "batch": 1, "resolution": resolution, **conditions}
    return Record("bench", model, same, {"seconds": seconds, "macs": 10.0})


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
    names = [(c.winner, c.loser) for c in crossover.crossings("twice", "flat", {"twice": twice, "flat": flat})]
    assert names == [("twice", "flat"), ("flat", "twice")]
    touching = {1.0: 2.0, 2.0: 1.0, 4.0: 2.0, 8.0: 2.0}
    assert crossover.crossings("touching", "flat", {"touching": touching, "flat": flat}) == []


def test_a_crossing_at_a_measured_point_is_found_once() -> None:
    curves = {"a": {1.0: 2.0, 2.0: 1.0, 4.0: 0.5}, "b": {1.0: 1.0, 2.0: 1.0, 4.0: 1.0}}
    assert crossover.crossings("a", "b", curves) == [Crossing("a", "b", pytest.approx(2.0), 1.0, 4.0)]


def test_only_places_that_both_have_count() -> None:
    assert crossover.crossings("a", "b", {"a": {1.0: 1.0, 4.0: 9.0}, "b": {1.0: 2.0, 2.0: 2.0}}) == []


def test_rows_without_a_figure_are_no_points() -> None:
    records = [record("a", 256, 1.0), record("a", 512, None), record("a", 256, 2.0)]
    assert crossover.curves(records, "resolution") == {"a": {256.0: 2.0}}


def test_the_table_says_who_overtakes_whom_and_where() -> None:
    records = [record("a", 256, 1.0), record("b", 256, 2.0), record("a", 1024, 8.0), record("b", 1024, 4.0)]
    (table,) = crossover.tables(records, "resolution", "px")
    assert list(table.rows) == [
        ("time", "b", "overtakes", "a", "at 512 px, between 256 and 1024"),
        ("MACs", "a", "below", "b", "everywhere from 256 to 1024 px"),
    ]


def test_unlike_rows_lie_on_different_curves() -> None:
    records = [record("a", 256, 1.0), record("b", 256, 2.0, dtype="fp32")]
    records += [record("a", 512, 1.0), record("b", 512, 2.0, dtype="fp32")]
    assert crossover.tables(records, "resolution", "px") == []
