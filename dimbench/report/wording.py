"""Conditions and environments in words: what is shared, what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dimbench import units
from dimbench.conditions import is_off, left

_UNITS = {"ceiling": " MACs/s"}


def shared(conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is the same wherever it applies, and applies to more than one of them if there are several."""
    known: dict[str, list[Any]] = {}
    for one in conditions:
        for name, value in one.items():
            known.setdefault(name, []).append(value)
    least = min(2, len(conditions))
    return {
        name: found[0] for name, found in known.items() if len(found) >= least and found.count(found[0]) == len(found)
    }


def words(conditions: Mapping[str, Any], without: Mapping[str, Any] | None = None) -> str:
    """`{"batch": 8, "device_name": "H100"}` -> "batch 8, device name H100", leaving out those in `without`.

    What is off goes unsaid, so that a condition that is new and off by default changes no name.
    """
    said = left(conditions, without or {})
    return ", ".join(f"{name.replace('_', ' ')} {plain(known)}{_UNITS.get(name, '')}" for name, known in said.items())


def pixels(conditions: Mapping[str, Any]) -> str | None:
    """The side of the images, or height and width as "160x320"; None where conditions name none."""
    height, width = conditions.get("resolution"), conditions.get("width")
    return None if height is None else f"{height}x{width}" if width else str(height)


def shape(conditions: Mapping[str, Any]) -> str:
    """ "256 px", or where there are no pixels what the network was called with."""
    side = pixels(conditions)
    return f"{side} px" if side else str(conditions.get("inputs") or "its own shape")


def plain(known: Any) -> str:
    """A value of conditions or environment as a person reads it."""
    if isinstance(known, bool):
        return "yes" if known else "no"
    if is_off(known):
        return "none"
    if isinstance(known, float):
        return f"{known:g}" if abs(known) < units.LONG else units.short(known)
    if isinstance(known, Mapping):
        return " + ".join(f"{name} {plain(part)}" for name, part in known.items())
    return " + ".join(map(plain, known)) if isinstance(known, list) else str(known)


@dataclass(frozen=True)
class Trait:
    """One entry of environments, with the values it has on each side, the most frequent first."""

    name: str
    sides: Sequence[Sequence[str]]
    differs: bool


def traits(*sides: Sequence[Mapping[str, Any]]) -> list[Trait]:
    """The environments by entry. Of two sides the k-th environments belong together, and an entry differs where it does
    within such a pair; of one side it differs where it has several values."""
    found = []
    for name in dict.fromkeys(name for side in sides for one in side for name in one):
        values = [[plain(one.get(name)) for one in side] for side in sides]
        together = zip(*values, strict=True) if len(sides) > 1 else values
        frequent = [[value for value, _ in Counter(side).most_common()] for side in values]
        found.append(Trait(name, frequent, any(len(set(group)) > 1 for group in together)))
    return found
