"""Where one model overtakes another along a growing condition, between measured points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from dimbench.report.tables import Table
from dimbench.results import Record

# What has to be equal for two rows to lie on one curve; kernels and networks differ between models.
SAME = ("mode", "device_name", "dtype", "batch", "resolution", "compile", "cuda_graph", "threads", "steps", "guided")
METRICS = {"seconds": "time", "peak_bytes": "memory", "macs": "MACs"}

Curve = Mapping[float, float]
"""Place along the condition -> measured value, both positive."""


@dataclass(frozen=True)
class Crossing:
    """At the place `at`, between the measured ones `after` and `before`, `winner` comes to need less than `loser`."""

    winner: str
    loser: str
    at: float
    after: float
    before: float


def crossings(a: str, b: str, curves: Mapping[str, Curve]) -> list[Crossing]:
    """Every place where the curves of `a` and `b` cross, from left to right.

    Between neighbouring places that both were measured at, both curves are taken as powers of the condition, straight
    lines in logarithms; where they touch and part again on the same side, there is no crossing.
    """
    gaps = [(x, math.log(curves[a][x] / curves[b][x])) for x in sorted(curves[a].keys() & curves[b].keys())]
    found = []
    for (x0, gap0), (x1, gap1) in pairwise([(x, gap) for x, gap in gaps if gap]):
        if gap0 * gap1 < 0:
            share = gap0 / (gap0 - gap1)
            at = math.exp(math.log(x0) + share * math.log(x1 / x0))
            winner, loser = (a, b) if gap1 < 0 else (b, a)
            found.append(Crossing(winner, loser, at, x0, x1))
    return found


def curves(records: Sequence[Record], along: str, metric: str = "seconds") -> dict[str, dict[float, float]]:
    """Model -> curve of `metric` along a condition; rows without a figure are left out. A later record replaces an
    earlier one at the same place."""
    found: dict[str, dict[float, float]] = {}
    for record in records:
        value = record.metrics.get(metric)
        if value:
            found.setdefault(record.model, {})[float(record.conditions[along])] = value
    return found


def tables(records: Sequence[Record], along: str, unit: str) -> list[Table]:
    """For rows that are equal in all but model and place, one table: where one model comes to be below another."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        same = [name for name in SAME if name != along]
        groups.setdefault(tuple(str(record.conditions.get(name)) for name in same), []).append(record)
    return [found for group in groups.values() if (found := _table(group, along, unit)).rows]


def _table(records: Sequence[Record], along: str, unit: str) -> Table:
    rows = []
    for metric, what in METRICS.items():
        found = curves(records, along, metric)
        for a, b in combinations(found, 2):
            if len(found[a].keys() & found[b].keys()) > 1:
                rows += [(what, *row) for row in _pair(a, b, found, unit)]
    conditions = records[0].conditions
    kept = ", ".join(f"{name} {conditions[name]}" for name in ("batch", "resolution", "dtype") if name != along)
    notes = ("Crossovers lie between measured points, where figures are taken as powers of the condition.",)
    return Table(("of", "the less", "", "the more", "where"), rows, title=f"Along {along}: {kept}", notes=notes)


def _pair(a: str, b: str, found: Mapping[str, Curve], unit: str) -> list[tuple[str, ...]]:
    """What there is to say of two models."""
    crossed = crossings(a, b, found)
    if crossed:
        return [
            (c.winner, "overtakes", c.loser, f"at {c.at:,.0f} {unit}, between {c.after:g} and {c.before:g}")
            for c in crossed
        ]
    common = sorted(found[a].keys() & found[b].keys())
    low, high = sorted((a, b), key=lambda name: found[name][common[-1]])
    return [(low, "below", high, f"everywhere from {common[0]:g} to {common[-1]:g} {unit}")]
