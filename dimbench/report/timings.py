"""Times of several models along one axis, and points that none other beats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol, TypeVar

from dimbench.report.crossover import crossings
from dimbench.report.curves import Curve, bundles

_NAMED = 4  # single points at most by their names


@dataclass(frozen=True)
class Curves:
    """By its name each curve and its model; `says` names the conditions that all of them share, and what else there
    is."""

    curves: Mapping[str, Curve]
    models: Mapping[str, str]
    says: str


def sweep(records: Iterable[Mapping[str, Any]], axis: str, metric: str) -> Curves | None:
    """The largest set of bench records that differ in `axis` and in the model alone; None where no model has two.

    Of a model and place measured again, the newest counts.
    """
    calls = [r for r in records if r["command"] == "bench" and r["conditions"].get("mode", "inference") == "inference"]
    sets, alone = [], []
    for bundle in bundles(calls, axis):
        all_curves = bundle.curves(metric)
        alone += [name for name, curve in all_curves.items() if len(curve) == 1]
        if curves := {name: curve for name, curve in all_curves.items() if len(curve) > 1}:
            sets.append((bundle, curves))
    if not sets:
        return None
    best, curves = max(sets, key=lambda found: sum(map(len, found[1].values())))
    says = [_conditions(best.conditions), "Bars: 95 % intervals."]
    if any(reading.doubtful for curve in curves.values() for reading in curve.values()):
        says.append("Hollow: measured with a warning or too few samples for an interval.")
    if alone := list(dict.fromkeys(alone)):
        more = f" and {len(alone) - _NAMED} more" if len(alone) > _NAMED else ""
        says.append(f"Not shown, for they are single points: {', '.join(alone[:_NAMED])}{more}.")
    if len(sets) > 1:
        says.append(f"Not shown: {len(sets) - 1} more sets of records under other conditions.")
    return Curves(curves, {name: best.models[name] for name in curves}, " ".join(says))


def _conditions(shared: Mapping[str, Any]) -> str:
    named = ", ".join(str(shared[name]) for name in ("device_name", "dtype") if shared.get(name))
    numbers = ", ".join(f"{name} {shared[name]}" for name in ("batch", "resolution", "threads") if shared.get(name))
    return f"Measured on {named}, {numbers}."


def overtakings(curves: Mapping[str, Curve], unit: str) -> dict[str, list[tuple[float, float, str]]]:
    """By the model that comes to need less: where on its curve it overtakes another, as (place, value, label)."""
    found: dict[str, list[tuple[float, float, str]]] = {}
    for first, second in combinations(curves, 2):
        for crossing in crossings(first, second, curves):
            curve = curves[crossing.winner]
            left, right = crossing.after, crossing.before
            value = _between(crossing.at, (left, curve[left].value), (right, curve[right].value))
            found.setdefault(crossing.winner, []).append((crossing.at, value, f"{crossing.at:.0f} {unit}"))
    return found


def _between(place: float, left: tuple[float, float], right: tuple[float, float]) -> float:
    """The value at `place` on the power law through two points."""
    share = math.log(place / left[0]) / math.log(right[0] / left[0])
    return left[1] * (right[1] / left[1]) ** share


class _Placed(Protocol):
    @property
    def x(self) -> float: ...
    @property
    def y(self) -> float: ...


P = TypeVar("P", bound=_Placed)


def front(points: Sequence[P]) -> list[P]:
    """The points that no other beats in both x and y, from the left."""
    best: list[P] = []
    for point in sorted(points, key=lambda point: (point.x, point.y)):
        if not best or point.y < best[-1].y:
            best.append(point)
    return best
