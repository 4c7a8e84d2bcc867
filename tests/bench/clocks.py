"""Clocks that stand still until something is called. Seconds are fractions of powers of two, so that sums are exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import repeat

from dimbench.bench.timing import Clock

TICK = 1 / 64


class FakeCpu:
    """A device whose calls take the given seconds, one after the other."""

    def __init__(self, durations: Iterator[float] | None = None) -> None:
        self.time = 0.0
        self.calls = 0
        self.durations = durations or repeat(TICK)
        self.clock = Clock(lambda: self.time, lambda: None, lambda: self.time, lambda start, end: end - start)

    def call(self) -> None:
        self.calls += 1
        self.time += next(self.durations)


class FakeGpu:
    """A device that works through what the host has handed out: each call is `kernels` launches."""

    def __init__(self, launch: float, kernel: float, kernels: int = 16) -> None:
        self.launch, self.kernel, self.kernels = launch, kernel, kernels
        self.host = self.busy_until = 0.0
        mark: Callable[[], float] = lambda: max(self.host, self.busy_until)  # noqa: E731
        self.clock = Clock(lambda: self.host, self.synchronise, mark, lambda start, end: end - start)

    def synchronise(self) -> None:
        self.host = max(self.host, self.busy_until)

    def call(self) -> None:
        for _ in range(self.kernels):
            self.host += self.launch
            self.busy_until = max(self.busy_until, self.host) + self.kernel
