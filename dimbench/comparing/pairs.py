"""Which figures belong together: rows of two record files, or of rounds measured in turn."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise, zip_longest
from typing import Any

from dimbench import conditions as keys
from dimbench.comparing.gates import METRICS, MetricKind
from dimbench.comparing.judge import Pair
from dimbench.errors import DimbenchError, UsageError

Entry = Mapping[str, Any]  # a record as results.read gives it
Round = tuple[Sequence[Entry], Sequence[Entry]]  # the records of BASE and of NEW

MIN_ROUNDS = 8  # below it no rank of the rounds could reach p < 0.001
IN_TURN = "measured one after the other, not in turn: a drift of the machine looks the same; use --run"


def of_rounds(rounds: Sequence[Round], also: Collection[str] = ()) -> list[Pair]:
    """The pairs of rounds in which both sides ran the same command: the k-th record of BASE with the k-th of NEW.

    `also` names metrics to show that are left out otherwise.
    """
    for base, new in rounds:
        if len(base) != len(new):
            raise DimbenchError(f"BASE measured {len(base)} rows and NEW {len(new)}: the two do not measure the same")
    pairs = []
    for position in range(len(rounds[0][0]) if rounds else 0):
        sides = tuple([entries[side][position] for entries in rounds] for side in (0, 1))
        pairs += _pairs(sides[0], sides[1], also)
    return pairs


def of_files(base: Sequence[Entry], new: Sequence[Entry], also: Collection[str] = ()) -> tuple[list[Pair], list[str]]:
    """The pairs of two files and a sentence on each row that has none. UsageError where no row of one is in the other.

    Several records of a row that one machine made in turn are rounds. Otherwise noisy figures prove nothing, however
    many samples they hold: of unchanged code measured in one process after another, a quarter to two fifths looked
    changed at every test that was tried, and more samples made it worse: the interval shrinks round a drifted centre.
    """
    rows = _rows(base), _rows(new)
    other_training = _other_trainings(rows)
    pairs: list[Pair] = []
    left_out = []
    for row, machines in rows[0].items():
        partner = other_training.get(row, row)
        for ours, theirs in _machines(machines, rows[1].get(partner, {})):
            if ours and theirs:
                pairs += _pairs(ours, theirs, also, _obstacle(ours, theirs))
            elif partner in rows[1]:
                left_out.append(_unmatched(*((ours, "BASE") if ours else (theirs, "NEW"))))
    matched = {*other_training, *other_training.values()}
    for side, (mine, others) in (("BASE", rows), ("NEW", rows[::-1])):
        rivals = [next(iter(machines.values()))[0] for machines in others.values()]
        alone = [
            next(iter(machines.values()))[0]
            for row, machines in mine.items()
            if row not in others and row not in matched
        ]
        left_out += [_alone(entry, side, rivals) for entry in alone]
    if not pairs:
        why = "; ".join(dict.fromkeys(left_out)) or "they hold no records of metrics that are compared"
        raise UsageError(
            f"no row of BASE can be compared with one of NEW: {why}; measure both under the same conditions"
        )
    return pairs, list(dict.fromkeys(left_out))


def _other_trainings(rows: tuple[Mapping[str, Any], Mapping[str, Any]]) -> dict[str, str]:
    """Rows of FIDs that only BASE has, with the only one that only NEW has and that differs in its weights alone."""
    sides: list[dict[str, list[str]]] = []
    for mine, others in (rows, rows[::-1]):
        alone: dict[str, list[str]] = {}
        for row, machines in mine.items():
            entry = next(iter(machines.values()))[0]
            if row not in others and entry["command"] == "fid":
                alone.setdefault(_row(entry, ("weights",)), []).append(row)
        sides.append(alone)
    both = ((mine, sides[1].get(key, [])) for key, mine in sides[0].items())
    return {mine[0]: theirs[0] for mine, theirs in both if len(mine) == len(theirs) == 1}


def _pairs(base: Sequence[Entry], new: Sequence[Entry], also: Collection[str], obstacle: str = "") -> list[Pair]:
    """A pair for each metric that both know; without rounds, of all the figures each side has."""
    first, second = base[0], new[0]
    conditions = first["conditions"], second["conditions"]
    differing = {n: (conditions[0].get(n), conditions[1].get(n)) for n in keys.differing(*conditions)}
    shared = {name: value for name, value in conditions[0].items() if name not in differing}
    pairs = []
    for metric, kind in METRICS.items():
        shown = metric in also or kind.kind is MetricKind.EXACT or kind.margin is not None
        before, after = (tuple(_figure(entry, metric) for entry in side) for side in (base, new))
        if shown and any(metric in entry["metrics"] for entry in base) and set(before + after) != {None}:
            pairs.append(
                Pair(
                    command=first["command"],
                    model=first["model"],
                    conditions=shared,
                    metric=metric,
                    base=before,
                    new=after,
                    environments=(first["environment"], second["environment"]),
                    differing=differing,
                    hertz=(_hertz(base), _hertz(new)),
                    obstacle=obstacle,
                    errors=(_error(base, metric), _error(new, metric)),
                    missing=next(filter(None, (_why_missing(entry, metric) for entry in (*new, *base))), ""),
                )
            )
    return pairs


def _figure(entry: Entry, metric: str) -> float | None:
    """None for NaN and infinities as well: they are no figures."""
    value = entry["metrics"].get(metric)
    return value if isinstance(value, int) or (value is not None and math.isfinite(value)) else None


def _error(entries: Sequence[Entry], metric: str) -> float | None:
    """The standard error of a side's figure, as Frechet distances have it; records of one row are of the same draw and
    tell no more than one."""
    found = [
        error for entry in entries if (error := _figure(entry, f"{metric.removesuffix('_mean')}_error")) is not None
    ]
    return max(found) if len(found) == len(entries) else None


def _why_missing(entry: Entry, metric: str) -> str:
    """Why a record has no figure, as far as it says; "" where it has one."""
    if _figure(entry, metric) is not None:
        return ""
    value = entry["metrics"].get(metric)
    return next(iter(entry["warnings"]), "") if value is None else f"the record says {value}"


def _hertz(entries: Sequence[Entry]) -> tuple[float, ...]:
    """The clock at the end of each measurement, under load; as many as say it."""
    states = (entry.get("details", {}).get("gpu") for entry in entries)
    ends = (found[-1] for found in states if found and isinstance(found, list))
    clocks = (end.get("sm_hertz") for end in ends if isinstance(end, dict))
    return tuple(clock for clock in clocks if isinstance(clock, int | float) and clock > 0)


def _rows(entries: Sequence[Entry]) -> dict[str, dict[str, list[Entry]]]:
    """The records by what has to be equal, then by the machine they are of, in the order of their making."""
    rows: dict[str, dict[str, list[Entry]]] = {}
    for entry in sorted(entries, key=lambda entry: entry["created"]):
        rows.setdefault(_row(entry), {}).setdefault(_machine(entry), []).append(entry)
    return rows


def _row(entry: Entry, without: Collection[str] = ()) -> str:
    return json.dumps([entry["command"], entry["model"], keys.key(entry["conditions"], (*keys.MACHINE, *without))])


def _machines(
    base: Mapping[str, list[Entry]], new: Mapping[str, list[Entry]]
) -> Iterator[tuple[list[Entry], list[Entry]]]:
    """The records of each machine with the other side's of the same; then those of machines that only one side has, in
    turn, for counts compare across machines; an empty list where none is left."""
    yield from ((base[name], new[name]) for name in base if name in new)
    others = (
        [entries for name, entries in side.items() if name not in other] for side, other in ((base, new), (new, base))
    )
    yield from zip_longest(*others, fillvalue=[])


def _obstacle(base: Sequence[Entry], new: Sequence[Entry]) -> str:
    machines = [_machine(entries[0]) for entries in (base, new)]
    if machines[0] != machines[1]:
        return f"other machine: {' against '.join(machines)}"
    if len(base) != len(new) or len(base) < MIN_ROUNDS:
        return IN_TURN
    times = [sorted((b["created"], n["created"])) for b, n in zip(base, new, strict=True)]
    return "" if all(before[1] <= after[0] for before, after in pairwise(times)) else IN_TURN


def _machine(entry: Entry) -> str:
    conditions, environment = entry["conditions"], entry["environment"]
    parts = {**{n: environment.get(n) for n in ("processor", "cpus")}, **{n: conditions.get(n) for n in keys.MACHINE}}
    return ", ".join(f"{part} {name}" if isinstance(part, int) else part for name, part in parts.items() if part)


def _unmatched(entries: Sequence[Entry], side: str) -> str:
    entry = entries[0]
    return f"{entry['command']} {entry['model']} left out: only {side} has it of the machine {_machine(entry)}"


def _alone(entry: Entry, side: str, others: Sequence[Entry]) -> str:
    """Why a row of one file has no partner in the other: the conditions in which the nearest one differs."""
    row = f"{entry['command']} {entry['model']}"
    rivals = [o for o in others if (o["command"], o["model"]) == (entry["command"], entry["model"])]
    if not rivals:
        return f"{row} is only in {side}"
    other = "NEW" if side == "BASE" else "BASE"
    ours = entry["conditions"]
    apart = [(rival["conditions"], keys.differing(ours, rival["conditions"], keys.MACHINE)) for rival in rivals]
    theirs, names = min(apart, key=lambda found: len(found[1]))
    found = (f"{n} is {ours.get(n, 'not given')} in {side} and {theirs.get(n, 'not given')} in {other}" for n in names)
    return f"{row} left out: {'; '.join(found)}"
