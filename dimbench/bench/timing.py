"""Times calls until their median is known well enough. The clock and the call are arguments."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from dimbench import stats

Call = Callable[[], object]
OnProgress = Callable[[str, float, float], None]
"""(phase, seconds since its start, median of the last block)."""

BLOCK_SECONDS = 0.1  # of calls between two looks at the statistics
BLOCK_CALLS = 100
STABLE = 0.02  # two successive block medians that differ less end the warm-up
WARM_UP_CALLS = 3
SETTLED = 0.9  # the interval shrinks to half when independent samples are quadrupled; above this it has stopped to
LAUNCH_PROBES = 5


@dataclass(frozen=True)
class Clock:
    """`now` is the host's time in seconds, `mark` a point in the device's; `between` two marks lie seconds that can be
    read after `synchronise`, which waits for the device."""

    now: Callable[[], float]
    synchronise: Callable[[], None]
    mark: Callable[[], Any]
    between: Callable[[Any, Any], float]


HOST = Clock(perf_counter, lambda: None, perf_counter, lambda start, end: end - start)


def cuda_clock(device: str) -> Clock:
    """Marks are CUDA events on the current stream, recorded without waiting."""
    import torch

    def mark() -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    return Clock(
        now=perf_counter,
        synchronise=lambda: torch.cuda.synchronize(device),
        mark=mark,
        between=lambda start, end: start.elapsed_time(end) / 1e3,
    )


@dataclass(frozen=True)
class Rules:
    """When to stop, in seconds: `budget` is for warm-up and samples together, `target` half the width of the median's
    interval as a share of the median."""

    budget: float = 60.0
    target: float = 0.02
    warm_up: float = 1.0
    warm_up_most: float = 30.0
    least_seconds: float = 2.0
    least_samples: int = 60  # fewer do not tell how alike neighbours are

    @classmethod
    def of(cls, device: str, budget: float) -> Rules:
        """A GPU repeats better than a CPU and takes longer to reach its clocks."""
        on_gpu = device.startswith("cuda")
        return cls(budget=budget, target=0.01 if on_gpu else 0.02, warm_up=2.0 if on_gpu else 1.0)


@dataclass(frozen=True)
class WarmUp:
    calls: int
    seconds: float
    stable: bool


@dataclass(frozen=True)
class Timed:
    """`seconds` of every call in order and `wall` of all of them together on the host's clock; why no more were taken:
    "interval" (narrow enough), "settled" (more samples do not narrow it) or "budget"."""

    seconds: list[float]
    wall: float
    reason: str
    warm_up: WarmUp

    @property
    def calls_per_second(self) -> float:
        return len(self.seconds) / self.wall


@dataclass
class _Block:
    seconds: list[float] = field(default_factory=list)
    wall: float = 0.0


def one_call(call: Call, clock: Clock) -> float:
    """Seconds of one call from a device at rest to a device at rest."""
    clock.synchronise()
    start = clock.now()
    call()
    clock.synchronise()
    return clock.now() - start


def measure(call: Call, clock: Clock, rules: Rules, on_progress: OnProgress = lambda *_: None) -> Timed:
    """Warm up, then time blocks of calls until `stop_reason` gives one. The first call is the caller's to make."""
    started = clock.now()
    with _no_garbage_collection():
        warm_up = _warm_up(call, clock, rules, on_progress)
        seconds: list[float] = []
        wall, look_at, last = 0.0, 0, 0.0
        began = clock.now()
        while True:
            block = _run_block(call, clock, _block_calls(last or warm_up.seconds / warm_up.calls))
            seconds += block.seconds
            wall += block.wall
            last = stats.median(block.seconds)
            on_progress("measuring", clock.now() - began, last)
            spent = clock.now() - started >= rules.budget
            if len(seconds) < look_at and not spent:
                continue
            look_at = len(seconds) + len(seconds) // 10  # each look sorts all samples
            if reason := stop_reason(seconds, wall, spent, rules):
                return Timed(seconds, wall, reason, warm_up)


def stop_reason(seconds: list[float], wall: float, spent: bool, rules: Rules) -> str | None:
    """Why to stop after these samples, or None; `spent` says that the budget is used up."""
    if len(seconds) >= rules.least_samples and wall >= rules.least_seconds:
        margin = _margin(seconds)
        if margin <= rules.target:
            return "interval"
        quarter = seconds[: len(seconds) // 4]
        if len(quarter) >= rules.least_samples and margin > SETTLED * _margin(quarter):
            return "settled"
    return "budget" if spent else None


def launch_share(call: Call, clock: Clock) -> float:
    """The share of a call's time in which the host is still handing out work; near 1 the device waits for the host."""
    shares = []
    for _ in range(LAUNCH_PROBES):
        clock.synchronise()
        start = clock.now()
        call()
        handed_out = clock.now()
        clock.synchronise()
        shares.append((handed_out - start) / max(clock.now() - start, 1e-9))
    return stats.median(shares)


def _margin(seconds: list[float]) -> float:
    low, high = stats.median_interval(seconds) or (0.0, float("inf"))
    return (high - low) / 2 / max(stats.median(seconds), 1e-12)


def _warm_up(call: Call, clock: Clock, rules: Rules, on_progress: OnProgress) -> WarmUp:
    """Calls until they take equally long, at most half the budget."""
    least, most = min(rules.warm_up, rules.budget / 4), min(rules.warm_up_most, rules.budget / 2)
    calls, seconds, before = 0, 0.0, 0.0
    while True:
        block = _run_block(call, clock, _block_calls(before))
        calls += len(block.seconds)
        seconds += block.wall
        median = stats.median(block.seconds)
        on_progress("warm-up", seconds, median)
        stable = before > 0 and abs(median / before - 1) < STABLE
        if (stable and calls >= WARM_UP_CALLS and seconds >= least) or seconds >= most:
            return WarmUp(calls, seconds, stable)
        before = median


def _block_calls(seconds_per_call: float) -> int:
    """How many calls fill a block; one where nothing is known yet."""
    if not seconds_per_call:
        return 1
    return max(1, min(BLOCK_CALLS, round(BLOCK_SECONDS / seconds_per_call)))


def _run_block(call: Call, clock: Clock, calls: int) -> _Block:
    """Calls one after the other, without waiting for the device in between."""
    clock.synchronise()
    start = clock.now()
    marks = []
    for _ in range(calls):
        before = clock.mark()
        call()
        marks.append((before, clock.mark()))
    clock.synchronise()
    wall = clock.now() - start
    return _Block([clock.between(*pair) for pair in marks], wall)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
