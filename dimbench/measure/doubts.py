"""What may be wrong with a measurement: what was seen, why it may be, and which option helps. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from dimbench.measure.hardware import Host
from dimbench.measure.nvml import GpuState
from dimbench.measure.timing import Timed
from dimbench.series import Summary

SPREAD, WIDE_SPREAD = 0.10, 0.25  # interquartile range over median, where torch.utils.benchmark warns
LAUNCH_BOUND = 0.9  # share of a call in which the host hands out work
SLOW_CLOCK = 0.75  # of the highest clock, where nvbench drops a trial


def of_series(timed: Timed, summary: Summary, target: float) -> list[str]:
    """Of the samples themselves."""
    found = []
    if not timed.warm_up.stable:
        found.append(
            f"The calls still changed when the warm-up ended after {timed.warm_up.seconds:.1f} s: caches or clocks were "
            "not settled, or other work ran; give a longer --budget."
        )
    if summary.margin is None:
        found.append(
            f"{summary.count} samples are too few for an interval: a call takes long; give a longer --budget."
        )
    elif timed.reason != "interval" and summary.margin > target:
        why = "more samples did not narrow it" if timed.reason == "settled" else "the budget was used up"
        found.append(
            f"The interval of the median is {_percent(summary.margin)} wide to either side, above {_percent(target)}, "
            f"and {why}: other work may run here; wait for a quiet machine or give a longer --budget."
        )
    if summary.spread > SPREAD:
        strength = "strongly" if summary.spread > WIDE_SPREAD else "noticeably"
        found.append(
            f"The samples differ {strength}: their middle half spans {_percent(summary.spread)} of the median; other "
            "work or changing clocks may be the cause; measure again on a quiet machine."
        )
    if severe := summary.outliers.high_severe + summary.outliers.low_severe:
        found.append(
            f"{severe} of {summary.count} samples are severe outliers (none was dropped): other work may have "
            "interrupted them."
        )
    return found


def of_launches(share: float) -> list[str]:
    """Of a GPU that may wait for the host."""
    if share <= LAUNCH_BOUND:
        return []
    return [
        f"Launch-bound: the host hands out work for {_percent(share)} of a call, so the time is the host's; a larger "
        "--batch, --compile or --cuda-graph shows the GPU's."
    ]


def of_host(before: Host, after: Host, threads: int) -> list[str]:
    """Of the machine around a measurement by `threads` threads."""
    found = []
    cpus = min(before.usable, before.quota or before.usable)
    if threads > cpus:
        what = "container's quota" if before.quota and before.quota < before.usable else "process's share"
        found.append(f"{threads} threads ran on the {what} of {cpus:g} CPUs and had to wait; give --threads {cpus:.0f}.")
    if before.load is not None and before.load + threads > before.cpus + 0.5:
        found.append(
            f"The load average was {before.load:.1f} on {before.cpus} CPUs before the start and {after.load:.1f} after "
            "it: other work shared the machine; wait until it is quiet."
        )
    if before.governor not in (None, "performance"):
        found.append(
            f"The CPU's clock follows the governor {before.governor!r}: it changes with load and heat; the system's "
            "administrator can set 'performance'."
        )
    return found


def of_gpu(states: Sequence[GpuState]) -> list[str]:
    """Of a GPU watched before the row (the first state) and during it."""
    if not states:
        return []
    found = []
    if others := states[0].processes:
        found.append(f"{len(others)} other processes were on the GPU before the start; wait until it is free.")
    during = states[1:]
    if reasons := sorted({reason for state in during for reason in state.throttled}):
        hottest = max((state.celsius or 0 for state in during), default=0)
        found.append(
            f"The GPU lowered its clocks ({', '.join(reasons)}; {hottest:.0f} degrees C): times hold for this state; cool it "
            "or let it rest."
        )
    slow = [s for s in during if s.sm_hertz and s.sm_hertz_most and s.sm_hertz < SLOW_CLOCK * s.sm_hertz_most]
    if slow:
        lowest = min((s.sm_hertz or 0) / (s.sm_hertz_most or 1) for s in slow)
        found.append(
            f"The GPU ran at {_percent(lowest)} of its highest clock at least once: it was idle, hot or limited; give a "
            "longer --budget."
        )
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
