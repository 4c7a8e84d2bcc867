"""Which figures belong together: rows of two record files, or of rounds measured in turn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

from dimbench.comparing.gates import METRICS, Kind
from dimbench.comparing.judge import Pair
from dimbench.errors import DimbenchError, UsageError

Entry = Mapping[str, Any]  # a record as results.read gives it
Round = tuple[Sequence[Entry], Sequence[Entry]]  # the records of BASE and of NEW

MIN_ROUNDS = 8  # below it no rank of the rounds could reach p < 0.001
MACHINE = ("device_name", "threads")  # conditions that name the machine, not the work: counts do not depend on them
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

    Several records of a row that were made in turn are rounds. Otherwise noisy figures prove nothing, however many
    samples they hold: of unchanged code measured in one process after another, a quarter to two fifths looked changed
    at every test that was tried, and more samples made it worse, for the interval shrinks round a drifted centre.
    """
    rows = _rows(base), _rows(new)
    pairs: list[Pair] = []
    left_out = []
    for key, entries in rows[0].items():
        if key in rows[1]:
            pairs += _pairs(entries, rows[1][key], also, _obstacle(entries, rows[1][key]))
        else:
            left_out.append(_alone(entries[0], "BASE", [e[0] for e in rows[1].values()]))
    left_out += [
        _alone(e[0], "NEW", [f[0] for f in rows[0].values()]) for key, e in rows[1].items() if key not in rows[0]
    ]
    if not pairs:
        why = "; ".join(dict.fromkeys(left_out)) or "they hold no records of metrics that are compared"
        raise UsageError(
            f"no row of BASE can be compared with one of NEW: {why}; measure both under the same conditions"
        )
    return pairs, list(dict.fromkeys(left_out))


def _pairs(base: Sequence[Entry], new: Sequence[Entry], also: Collection[str], obstacle: str = "") -> list[Pair]:
    """A pair for each metric that both know; without rounds, of all the figures each side has."""
    first, second = base[0], new[0]
    conditions = first["conditions"], second["conditions"]
    names = list(dict.fromkeys([*conditions[0], *conditions[1]]))
    differing = {n: (conditions[0].get(n), conditions[1].get(n)) for n in names if _differ(*conditions, n)}
    shared = {name: conditions[0][name] for name in names if name not in differing}
    pairs = []
    for metric, kind in METRICS.items():
        shown = metric in also or kind.kind is Kind.EXACT or kind.margin is not None
        before, after = (tuple(entry["metrics"].get(metric) for entry in side) for side in (base, new))
        if shown and all(metric in side["metrics"] for side in (first, second)) and set(before + after) != {None}:
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
                    missing=next((w for e in (*new, *base) if e["metrics"][metric] is None for w in e["warnings"]), ""),
                )
            )
    return pairs


def _hertz(entries: Sequence[Entry]) -> tuple[float, ...]:
    """The clock at the end of each measurement, under load; as many as say it."""
    states = (entry.get("details", {}).get("gpu") for entry in entries)
    return tuple(found[-1]["sm_hertz"] for found in states if found and found[-1]["sm_hertz"])


def _differ(base: Mapping[str, Any], new: Mapping[str, Any], name: str) -> bool:
    return name not in base or name not in new or base[name] != new[name]


def _rows(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The records by what has to be equal, in the order of their making."""
    rows: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry["created"]):
        rows.setdefault(repr((entry["command"], entry["model"], sorted(_work(entry).items()))), []).append(entry)
    return rows


def _obstacle(base: Sequence[Entry], new: Sequence[Entry]) -> str:
    machines = [_machine(entries[0]) for entries in (base, new)]
    if machines[0] != machines[1]:
        return f"other machine: {' against '.join(machines)}"
    if len(base) != len(new) or len(base) < MIN_ROUNDS:
        return IN_TURN
    times = [sorted((b["created"], n["created"])) for b, n in zip(base, new, strict=True)]
    return "" if all(before[1] <= after[0] for before, after in pairwise(times)) else IN_TURN


def _work(entry: Entry) -> dict[str, Any]:
    return {name: value for name, value in entry["conditions"].items() if name not in MACHINE}


def _machine(entry: Entry) -> str:
    conditions, environment = entry["conditions"], entry["environment"]
    parts = {**{n: environment.get(n) for n in ("processor", "cpus")}, **{n: conditions.get(n) for n in MACHINE}}
    return ", ".join(f"{part} {name}" if isinstance(part, int) else part for name, part in parts.items() if part)


def _alone(entry: Entry, side: str, others: Sequence[Entry]) -> str:
    """Why a row of one file has no partner in the other: the conditions in which the nearest one differs."""
    row = f"{entry['command']} {entry['model']}"
    rivals = [o for o in others if (o["command"], o["model"]) == (entry["command"], entry["model"])]
    if not rivals:
        return f"{row} is only in {side}"
    other = "NEW" if side == "BASE" else "BASE"
    ours = _work(entry)
    apart = [(t, [n for n in {**ours, **t} if _differ(ours, t, n)]) for t in map(_work, rivals)]
    theirs, names = min(apart, key=lambda found: len(found[1]))
    found = (f"{n} is {ours.get(n, 'not given')} in {side} and {theirs.get(n, 'not given')} in {other}" for n in names)
    return f"{row} left out: {'; '.join(found)}"
