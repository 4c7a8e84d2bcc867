"""How often the 95 % interval of `dimbench bench` holds the true median when calls that follow each other are alike.

Run from the root of the checkout: python results/interval_coverage.py. Nothing is measured: the code of bench times
calls by a clock that stands still but for the call, whose seconds are the exponential of a first-order autoregression,
so that the true median is known; all of its rules apply, those that stop it included. The records go to
results/interval-coverage.jsonl.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path

from dimbench import stats
from dimbench.bench import timing
from dimbench.bench.timing import Clock, Rules
from dimbench.report.tables import Table
from dimbench.results import Record, append

FILE = Path(__file__).with_name("interval-coverage.jsonl")
SERIES = 1000  # of each kind: a share of 0.95 has a standard error of 0.007, of the fewest intervals 0.03
SPREAD = 0.05  # of the logarithm of a call's seconds
CALLS = (0.02, 0.2, 1.0)  # seconds
ALIKE = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)
RULES = Rules(budget=60.0)


def durations(median: float, alike: float, lot: random.Random) -> Iterator[float]:
    """Seconds of calls round a true median, the correlation of neighbouring logarithms being `alike`."""
    state, fresh = lot.gauss(), math.sqrt(1 - alike**2)
    while True:
        yield median * math.exp(SPREAD * state)
        state = alike * state + fresh * lot.gauss()


def timed(calls: Iterator[float], rules: Rules = RULES) -> list[float]:
    """The samples that bench takes of such calls."""
    now = 0.0

    def call() -> None:
        nonlocal now
        now += next(calls)

    clock = Clock(lambda: now, lambda: None, lambda: now, lambda start, end: end - start)
    return timing.measure(call, clock, rules).seconds


def plain(samples: list[float]) -> tuple[float, float]:
    """The interval for independent samples."""
    rank, ordered = stats.median_rank(len(samples)) or 1, sorted(samples)
    return ordered[rank - 1], ordered[-rank]


def coverage(median: float, alike: float, series: int) -> dict[str, float]:
    """Of so many series: the share that got an interval (`given`), the share of these whose interval holds the median
    (`held`), the share of all whose interval does not (`wrong`), the share that an interval for independent samples
    would hold (`plain`); how many samples were taken and half the interval as a share, on average."""
    lot = random.Random(0)
    found = [timed(durations(median, alike, lot)) for _ in range(series)]
    intervals = [interval for samples in found if (interval := stats.median_interval(samples))]
    held = sum(low <= median <= high for low, high in intervals)
    return {
        "held": held / len(intervals) if intervals else math.nan,
        "given": len(intervals) / series,
        "wrong": (len(intervals) - held) / series,
        "plain": sum(low <= median <= high for low, high in map(plain, found)) / series,
        "samples": sum(map(len, found)) / series,
        "margin": sum(high - low for low, high in intervals) / 2 / median / max(len(intervals), 1),
    }


def main() -> None:
    records = []
    for median in CALLS:
        for alike in ALIKE:
            figures = coverage(median, alike, SERIES)
            conditions = {"seconds": median, "alike": alike, "spread": SPREAD, "series": SERIES}
            records.append(Record("interval-coverage", "autoregression", conditions, figures))
            print(conditions, figures, flush=True)
    append(records, FILE)
    rows = [
        [f"{r.conditions['seconds']:g} s", f"{r.conditions['alike']:g}", *(f"{v:.3g}" for v in r.metrics.values())]
        for r in records
    ]
    Table(("call", "alike", *records[0].metrics), rows).show()


if __name__ == "__main__":
    main()
