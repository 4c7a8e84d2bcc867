"""Times of several models along one axis, and points that none other beats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol, TypeVar

from dimbench.report.crossover import SAME, crossings

Curve = Mapping[float, float]


@dataclass(frozen=True)
class Curves:
    """Model -> its curve, place on the axis -> value; `says` names the conditions that all of them share."""

    curves: Mapping[str, Curve]
    says: str


def sweep(records: Sequence[Mapping[str, Any]], axis: str, metric: str) -> Curves | None:
    """The largest set of bench records that differ in `axis` and in the model alone; None where no model has two.

    Of a model and place measured again, the newest counts.
    """
    groups: dict[tuple[Any, ...], dict[str, dict[float, float]]] = {}
    same = [name for name in SAME if name != axis]
    for record in records:
        conditions, measured = record["conditions"], record["metrics"].get(metric)
        if record["command"] == "bench" and measured and conditions.get("mode", "inference") == "inference":
            curves = groups.setdefault(tuple(conditions.get(name) for name in same), {})
            curves.setdefault(record["model"], {})[float(conditions[axis])] = measured
    usable = {key: {m: curve for m, curve in group.items() if len(curve) > 1} for key, group in groups.items()}
    best = max(usable, key=lambda key: sum(map(len, usable[key].values())), default=None)
    if best is None or not usable[best]:
        return None
    return Curves(usable[best], _conditions(dict(zip(same, best, strict=True))))


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
            value = _between(crossing.at, (left, curve[left]), (right, curve[right]))
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
