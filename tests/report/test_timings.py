from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from dimbench.report import timings
from dimbench.report.curves import Curve
from tests.papers.made_up import bench
from tests.report.test_crossover import exact


@dataclass(frozen=True)
class At:
    x: float
    y: float


def values(curves: Mapping[str, Curve]) -> dict[str, dict[float, float]]:
    return {name: {place: found.value for place, found in curve.items()} for name, curve in curves.items()}


def test_a_sweep_holds_what_differs_in_one_axis_alone() -> None:
    records = [bench("dit-xl2", side / 256, resolution=side) for side in (256, 512, 1024)]
    records += [bench("dim-h2", 2.0, resolution=side) for side in (256, 512)]
    records += [bench("dim-h2", 9.0, resolution=256, batch=batch) for batch in (8, 16)] + [bench("sit-xl2", 1.0)]
    sweep = timings.sweep(records, "resolution", "seconds")
    assert sweep is not None
    assert values(sweep.curves) == {"dit-xl2": {256: 1, 512: 2, 1024: 4}, "dim-h2": {256: 2, 512: 2}}
    assert "A100" in sweep.says
    assert "batch 1" in sweep.says
    assert "Not shown, for they are single points: sit-xl2, dim-h2." in sweep.says


def test_the_newest_of_two_counts_and_another_kernel_is_another_curve() -> None:
    records = [bench("dim-h2", 3.0), bench("dim-h2", 2.0), bench("dim-h2", 5.0, resolution=512)]
    records += [bench("dim-h2", 9.0, resolution=side, kernel="scan cpu") for side in (256, 512)]
    sweep = timings.sweep(records, "resolution", "seconds")
    assert sweep is not None
    assert values(sweep.curves) == {
        "dim-h2 (otherwise)": {256.0: 2.0, 512.0: 5.0},
        "dim-h2 (kernel scan cpu)": {256.0: 9.0, 512.0: 9.0},
    }
    assert set(sweep.models.values()) == {"dim-h2"}


def test_doubtful_points_are_marked_and_other_conditions_named() -> None:
    records = [bench("dim-h2", 1.0, None), bench("dim-h2", 1.0, resolution=512) | {"warnings": ["A: b."]}]
    records += [bench("dim-h2", 1.0, resolution=1024), bench("dim-h2", 1.0, batch=8)]
    records += [bench("dim-h2", 1.0, batch=8, resolution=512)]
    sweep = timings.sweep(records, "resolution", "seconds")
    assert sweep is not None
    assert [reading.doubtful for reading in sweep.curves["dim-h2"].values()] == [True, True, False]
    assert "Hollow: " in sweep.says
    assert "Not shown: 1 more" in sweep.says


@pytest.mark.parametrize(
    "records",
    [[], [bench("dit-xl2", 1.0)], [bench("dit-xl2", 1.0), bench("dit-xl2", 2.0, resolution=512, dtype="bf16")]],
)
def test_without_two_places_there_is_no_sweep(records: list[dict[str, object]]) -> None:
    assert timings.sweep(records, "resolution", "seconds") is None


def test_power_laws_cross_where_they_are_equal() -> None:
    places = (128.0, 300.0, 900.0, 2000.0)
    square, linear = exact({x: (x / 512) ** 2 for x in places}), exact({x: x / 512 for x in places})
    found = timings.overtakings({"attention": square, "scan": linear}, "px")
    ((place, value, label),) = found["scan"]  # needs less from there on
    assert place == pytest.approx(512)
    assert value == pytest.approx(1)
    assert label == "512 px"
    assert not timings.overtakings({"a": linear, "b": exact({x: x / 256 for x in places})}, "px")


def test_the_front_is_what_nothing_beats() -> None:
    points = [At(1, 5), At(2, 6), At(2, 3), At(3, 3), At(4, 1), At(1, 7)]
    assert timings.front(points) == [At(1, 5), At(2, 3), At(4, 1)]
