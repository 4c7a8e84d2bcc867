"""Where one model overtakes another along a growing condition, between measured points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from dimbench.report.curves import Bundle, Curve, bundles
from dimbench.report.tables import Table
from dimbench.results import Record

METRICS = {"seconds": "time", "peak_bytes": "memory", "macs": "MACs"}


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

    Only places count where one of them is surely the lower. Between two such neighbours both curves are taken as powers
    of the condition, straight lines in logarithms.
    """
    sure = [(x, order) for x in common(curves[a], curves[b]) if (order := curves[a][x].order(curves[b][x]))]
    found = []
    for (x0, order0), (x1, order1) in pairwise(sure):
        if order0 != order1:
            gaps = [math.log(curves[a][x].value / curves[b][x].value) for x in (x0, x1)]
            at = math.exp(math.log(x0) + gaps[0] / (gaps[0] - gaps[1]) * math.log(x1 / x0))
            winner, loser = (a, b) if order1 < 0 else (b, a)
            found.append(Crossing(winner, loser, at, x0, x1))
    return found


def common(a: Curve, b: Curve) -> list[float]:
    """The places that both curves have, from left to right."""
    return sorted(a.keys() & b.keys())


def tables(records: Sequence[Record], along: str, unit: str) -> list[Table]:
    """For rows that are equal in all but model and place, one table: where one model comes to be below another."""
    found = bundles([record.as_dict() for record in records], along)
    return [table for bundle in found if (table := _table(bundle, along, unit)).rows]


def _table(bundle: Bundle, along: str, unit: str) -> Table:
    rows = []
    for metric, what in METRICS.items():
        curves = bundle.curves(metric)
        for a, b in combinations(curves, 2):
            if len(common(curves[a], curves[b])) > 1:
                rows += [(what, *row) for row in _pair(a, b, curves, unit)]
    kept = ", ".join(f"{n} {bundle.conditions[n]}" for n in ("batch", "resolution", "dtype") if n in bundle.conditions)
    notes = (
        "Crossovers lie between measured points, where figures are taken as powers of the condition.",
        "A point counts where the intervals of the two are apart by more than processes of the same code differ.",
    )
    return Table(("of", "the less", "", "the more", "where"), rows, title=f"Along {along}: {kept}", notes=notes)


def _pair(a: str, b: str, curves: Mapping[str, Curve], unit: str) -> list[tuple[str, ...]]:
    """What there is to say of two models."""
    if crossed := crossings(a, b, curves):
        return [
            (c.winner, "overtakes", c.loser, f"at {c.at:,.0f} {unit}, between {c.after:g} and {c.before:g}")
            for c in crossed
        ]
    places = common(curves[a], curves[b])
    sure = {x: order for x in places if (order := curves[a][x].order(curves[b][x]))}
    reach = f"from {places[0]:g} to {places[-1]:g} {unit}"
    if not sure:
        equal = all(curves[a][x].value == curves[b][x].value for x in places)
        return [(a, "equal to" if equal else "not told apart from", b, reach)]
    low, high = (a, b) if next(iter(sure.values())) < 0 else (b, a)
    where = (
        f"everywhere {reach}" if len(sure) == len(places) else f"surely at {', '.join(f'{x:g}' for x in sure)} {unit}"
    )
    return [(low, "below", high, where)]
