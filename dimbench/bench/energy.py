"""Energy per call, as the difference of a counter over steady work. The counter is an argument."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dimbench.bench.timing import Call, Clock

Counter = Callable[[], float | None]
"""Joules since some time in the past, None where nothing counts them."""

STEADY_SECONDS = 5.0  # the counters of GPUs move in steps of up to a tenth of a second
_RAPL = Path("/sys/class/powercap/intel-rapl:0")


def joules_per_call(call: Call, clock: Clock, counter: Counter, seconds: float = STEADY_SECONDS) -> float | None:
    """Joules of one of the calls that fill `seconds`, everything on the same counter included; None if not counted."""
    clock.synchronise()
    first = counter()
    if first is None:
        return None
    start, calls = clock.now(), 0
    while clock.now() - start < seconds:
        call()
        clock.synchronise()
        calls += 1
    last = counter()
    return (last - first) / calls if last is not None and last >= first else None  # a counter may wrap


def cpu_package(folder: Path = _RAPL) -> float | None:
    """Joules of the first CPU package, where the system lets this user read them."""
    try:
        return int((folder / "energy_uj").read_text()) / 1e6
    except (OSError, ValueError):
        return None
