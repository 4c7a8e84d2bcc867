"""Calls timed against each other: alternating in one process, so that what slows the machine slows all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

Call = Callable[[], object]


def alternate(
    calls: Mapping[str, Call],
    rounds: int,
    clock: Callable[[], float] = perf_counter,
    on_round: Callable[[int], None] | None = None,
) -> dict[str, list[float]]:
    """Seconds of every call by name, one per round, after each has been called once untimed.

    Every second round goes backwards, so that no call always follows the same one. `clock` gives seconds, on a GPU
    after waiting for it; `on_round(k)` follows round k.
    """
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(rounds):
        for name in reversed(list(calls)) if k % 2 else calls:
            started = clock()
            calls[name]()
            seconds[name].append(clock() - started)
        if on_round:
            on_round(k)
    return seconds


def ratios(seconds: Sequence[float], base: Sequence[float]) -> list[float]:
    """How many times as long as `base` each round took."""
    return [ours / theirs for ours, theirs in zip(seconds, base, strict=True)]
