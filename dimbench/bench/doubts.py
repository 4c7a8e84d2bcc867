"""What may be wrong with a measurement: what was seen, why it may be, and which option helps. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from dimbench import stats
from dimbench.bench.hardware import Host
from dimbench.bench.nvml import GpuState
from dimbench.bench.timing import Timed
from dimbench.methods.method import Method
from dimbench.stats import Summary

SPREAD, WIDE_SPREAD = 0.10, 0.25  # interquartile range over median, where torch.utils.benchmark warns
LAUNCH_BOUND = 0.9  # share of a call in which the host hands out work
SLOW_CLOCK = 0.75  # of the highest clock, where nvbench drops a trial


class DoubtKind(StrEnum):
    WARM_UP = "warm-up"
    FEW = "few samples"
    WIDE = "wide interval"
    SPREAD = "spread"
    OUTLIERS = "outliers"
    ALIKE = "alike neighbours"
    LAUNCHES = "launch-bound"
    THREADS = "threads"
    LOAD = "load"
    GOVERNOR = "governor"
    SHARED = "shared GPU"
    THROTTLED = "throttled"
    SLOW = "slow clock"
    MEMORY = "memory"
    NO_END = "no end"
    MEANINGLESS = "meaningless"


@dataclass(frozen=True)
class Doubt:
    """`seen` and `advice` are parts of a sentence, which a record keeps beside the values."""

    kind: DoubtKind
    seen: str
    advice: str

    def __str__(self) -> str:
        return f"{self.seen[0].upper()}{self.seen[1:]}: {self.advice}."


_LONG = "a call takes long; give a longer --budget"
_NOISE = "other work or changing clocks may be the cause; wait for a quiet machine, or give a longer --budget"


def too_big(seen: str) -> Doubt:
    """Of a row that did not fit."""
    return Doubt(DoubtKind.MEMORY, seen, "give a smaller --batch or --resolution")


def of_series(timed: Timed, summary: Summary, target: float) -> list[Doubt]:
    """Of the samples themselves."""
    found = []
    if not timed.warm_up.stable:
        found.append(
            Doubt(
                DoubtKind.WARM_UP, f"the calls still changed after a warm-up of {timed.warm_up.seconds:.1f} s", _NOISE
            )
        )
    if summary.margin is None:
        few = f"{summary.count} sample{'s' if summary.count > 1 else ''} gave no interval"
        found.append(Doubt(DoubtKind.FEW, few, _LONG))
    elif summary.count < stats.TELLING:
        seen = f"{summary.count} samples do not tell whether calls were alike, and the interval holds only if not"
        found.append(Doubt(DoubtKind.FEW, seen, _LONG))
    if summary.margin is not None and timed.reason != "interval" and summary.margin > target:
        when = "and more samples did not narrow it" if timed.reason == "settled" else "when the budget was used up"
        found.append(
            Doubt(
                DoubtKind.WIDE,
                f"the interval was ± {_percent(summary.margin)}, above {_percent(target)}, {when}",
                _NOISE,
            )
        )
    if summary.spread > SPREAD:
        strength = "strongly" if summary.spread > WIDE_SPREAD else "noticeably"
        found.append(
            Doubt(
                DoubtKind.SPREAD,
                f"the samples differed {strength}, by an IQR of {_percent(summary.spread)} of the median",
                _NOISE,
            )
        )
    if summary.neighbours > stats.ALIKE:
        seen = f"each call took about as long as the one before it (correlation {summary.neighbours:.2f})"
        advice = "the interval may be too narrow, for something slow changes the times; " + _NOISE
        found.append(Doubt(DoubtKind.ALIKE, seen, advice))
    if severe := summary.outliers.high_severe + summary.outliers.low_severe:
        found.append(
            Doubt(
                DoubtKind.OUTLIERS, f"{severe} of {summary.count} samples were severe outliers, which are kept", _NOISE
            )
        )
    return found


def of_launches(share: float | None) -> list[Doubt]:
    """Of a GPU that may wait for the host."""
    if share is None or share <= LAUNCH_BOUND:
        return []
    seen = f"launch-bound, the host handed out work for {_percent(share)} of a call"
    return [
        Doubt(
            DoubtKind.LAUNCHES,
            seen,
            "the time is the host's; a larger --batch, --compile or --cuda-graph shows the GPU's",
        )
    ]


def of_host(before: Host, after: Host, threads: int) -> list[Doubt]:
    """Of the machine around a measurement by `threads` threads."""
    found = []
    cpus = min(before.usable, before.quota or before.usable)
    if threads > cpus:
        whose = "the container's quota" if before.quota and before.quota < before.usable else "the process's share"
        found.append(
            Doubt(
                DoubtKind.THREADS,
                f"{threads} threads ran on {cpus:g} CPUs, {whose}",
                f"they wait; give --threads {cpus:.0f}",
            )
        )
    if before.load is not None and before.load + threads > before.cpus + 0.5:
        after_it = f" and {after.load:.1f} after" if after.load is not None else ""
        found.append(
            Doubt(DoubtKind.LOAD, f"the load was {before.load:.1f} before{after_it} on {before.cpus} CPUs", _NOISE)
        )
    if before.governor not in (None, "performance"):
        advice = "the clock follows load and heat; the system's administrator can set 'performance'"
        found.append(Doubt(DoubtKind.GOVERNOR, f"the CPU runs under the governor {before.governor!r}", advice))
    return found


def of_methods(methods: Sequence[Method]) -> list[Doubt]:
    """Of what stands only for another computation's values."""
    seen = "{} computes as the plain network does, so that this time means nothing"
    return [
        Doubt(DoubtKind.MEANINGLESS, seen.format(method.name), "measure quality with it, by `dimbench fid`")
        for method in methods
        if not method.timed
    ]


def of_gpu(states: Sequence[GpuState]) -> list[Doubt]:
    """Of a GPU watched before the row (the first state) and during it."""
    if not states:
        return []
    found = []
    if others := states[0].processes:
        plural = "es were" if len(others) > 1 else " was"
        found.append(
            Doubt(
                DoubtKind.SHARED,
                f"{len(others)} other process{plural} on the GPU",
                "they share it; wait until it is free",
            )
        )
    during = states[1:]
    if reasons := sorted({reason for state in during for reason in state.throttled}):
        hottest = max((state.celsius or 0 for state in during), default=0)
        seen = f"the GPU lowered its clocks ({', '.join(reasons)}; up to {hottest:.0f} °C)"
        found.append(Doubt(DoubtKind.THROTTLED, seen, "the times hold for this state; cool it or let it rest"))
    clocks = [s.sm_hertz / s.sm_hertz_most for s in during if s.sm_hertz and s.sm_hertz_most]
    if clocks and min(clocks) < SLOW_CLOCK:
        seen = f"the GPU ran at {_percent(min(clocks))} of its highest clock at least once"
        found.append(Doubt(DoubtKind.SLOW, seen, "it was idle, hot or limited; give a longer --budget"))
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
