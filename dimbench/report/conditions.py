"""Conditions and environments in words: what is shared, what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def shared(conditions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The conditions that all of them have with the same value."""
    if not conditions:
        return {}
    first, *others = conditions
    return {name: known for name, known in first.items() if all(name in o and o[name] == known for o in others)}


def words(conditions: Mapping[str, Any], without: Mapping[str, Any] | None = None) -> str:
    """`{"batch": 8, "device_name": "H100"}` -> "batch 8, device name H100", leaving out those in `without`."""
    left = {name: known for name, known in conditions.items() if name not in (without or {})}
    return ", ".join(f"{name.replace('_', ' ')} {plain(known)}" for name, known in left.items())


def plain(known: Any) -> str:
    """A value of conditions or environment as a person reads it."""
    if known is None or known == {} or known == []:
        return "none"
    if isinstance(known, bool):
        return "yes" if known else "no"
    if isinstance(known, Mapping):
        return "+".join(f"{name}={plain(part)}" for name, part in known.items())
    return "+".join(map(plain, known)) if isinstance(known, list) else str(known)


@dataclass(frozen=True)
class Trait:
    """One entry of the environment and the values it has on each side, the most frequent first."""

    name: str
    sides: Sequence[Sequence[str]]

    @property
    def differs(self) -> bool:
        return len({known for side in self.sides for known in side}) > 1


def traits(sides: Sequence[Iterable[Mapping[str, Any]]]) -> list[Trait]:
    """The environments of each side, by entry: those of base and new, or of all records as the only side."""
    environments = [list(side) for side in sides]
    names = dict.fromkeys(name for side in environments for one in side for name in one)
    return [
        Trait(
            name, [[v for v, _ in Counter(plain(one.get(name)) for one in side).most_common()] for side in environments]
        )
        for name in names
    ]
