"""Times of several models along one axis, from records of equal conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeVar

from dimbench.papers.compare import Record

# May differ between the models of one comparison: what their networks need, not how they were measured.
_OWN = ("kernel", "form", "sampler", "weights")


@dataclass(frozen=True)
class Sweep:
    """(place on the axis, value) by model; `says` names the conditions that all of them share."""

    series: Mapping[str, list[tuple[float, float]]]
    says: str


def sweep(records: Sequence[Record], axis: str, metric: str) -> Sweep | None:
    """The largest set of bench records that differ in `axis` and in the model alone; None where no model has two.

    Of a model and place measured again, the newest counts.
    """
    groups: dict[Any, dict[str, dict[float, float]]] = {}
    for record in records:
        conditions = record["conditions"]
        measured = record["metrics"].get(metric)
        if record["command"] == "bench" and measured and conditions.get("mode", "inference") == "inference":
            shared = {name: value for name, value in conditions.items() if name not in (*_OWN, axis)}
            places = groups.setdefault(tuple(sorted(shared.items(), key=str)), {}).setdefault(record["model"], {})
            places[float(conditions[axis])] = measured
    usable = {
        key: {model: places for model, places in group.items() if len(places) > 1} for key, group in groups.items()
    }
    best = max(usable, key=lambda key: sum(map(len, usable[key].values())), default=None)
    if best is None or not usable[best]:
        return None
    series = {model: sorted(places.items()) for model, places in usable[best].items()}
    return Sweep(series, _conditions(dict(best)))


def _conditions(shared: Mapping[str, Any]) -> str:
    named = ", ".join(str(shared[name]) for name in ("device_name", "dtype") if shared.get(name))
    numbers = ", ".join(f"{name} {shared[name]}" for name in ("batch", "resolution", "threads") if shared.get(name))
    return f"Measured on {named}, {numbers}." if named else f"Measured at {numbers}."


def crossings(series: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, list[tuple[float, float, str]]]:
    """Where one model becomes faster than another: (place, value, label) by the model that is faster from there on."""
    found: dict[str, list[tuple[float, float, str]]] = {}
    names = list(series)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            for place, value, faster in _crossings(dict(series[first]), dict(series[second])):
                found.setdefault(first if faster else second, []).append((place, value, f"{place:.0f} px"))
    return found


def _crossings(first: Mapping[float, float], second: Mapping[float, float]) -> list[tuple[float, float, bool]]:
    """Crossings of two curves between places both were measured at, on straight lines in logarithms; whether the first
    is the lower one afterwards."""
    places = sorted(first.keys() & second.keys())
    found = []
    for left, right in pairwise(places):
        before, after = (math.log(first[place] / second[place]) for place in (left, right))
        if before * after < 0:
            share = before / (before - after)
            place = left * (right / left) ** share
            found.append((place, first[left] * (first[right] / first[left]) ** share, after < 0))
    return found


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
