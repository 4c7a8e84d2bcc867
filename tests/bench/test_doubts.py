from __future__ import annotations

from dataclasses import replace

from dimbench import stats
from dimbench.bench import doubts
from dimbench.bench.doubts import Doubt, DoubtKind
from dimbench.bench.hardware import Host
from dimbench.bench.nvml import GpuState
from dimbench.bench.timing import Timed, WarmUp

QUIET = Host(8, 8, 0.1, None, "performance", True, 1, 10**10)
COOL = GpuState(1.9e9, 1.98e9, 2.6e9, 50, 400.0, (), {})
STEADY = [1.0 + 0.001 * (k % 5) for k in range(60)]


def of(seconds: list[float], reason: str = "interval", stable: bool = True) -> list[Doubt]:
    timed = Timed(seconds, sum(seconds), reason, WarmUp(3, 1.0, stable))
    return doubts.of_series(timed, stats.summarise(seconds), 0.02)


def test_a_good_series_raises_no_doubt() -> None:
    assert of(STEADY) == []


def test_each_fault_of_a_series_is_said_with_what_helps() -> None:
    wide = [1.0, 2.0] * 30
    for found, kind, words in (
        (of(STEADY, stable=False), DoubtKind.WARM_UP, "still changed after a warm-up"),
        (of([1.0] * 3), DoubtKind.FEW, "3 samples gave no interval"),
        (of(STEADY[:49]), DoubtKind.FEW, "49 samples do not tell whether calls were alike"),
        (of(wide, "budget"), DoubtKind.WIDE, "± 33.3 %, above 2.0 %, when the budget was used up"),
        (of(wide, "settled"), DoubtKind.WIDE, "more samples did not narrow it"),
        (of(wide), DoubtKind.SPREAD, "differed strongly"),
        (of([*STEADY, 9.0]), DoubtKind.OUTLIERS, "1 of 61 samples were severe outliers, which are kept"),
        (
            of([1.0 + k / 1e4 for k in range(400)]),
            DoubtKind.ALIKE,
            "about as long as the one before it (correlation 0.99)",
        ),
    ):
        (doubt,) = [doubt for doubt in found if doubt.kind is kind]
        assert words in doubt.seen
        assert "--budget" in doubt.advice
        assert str(doubt) == f"{doubt.seen[0].upper()}{doubt.seen[1:]}: {doubt.advice}."


def test_a_busy_or_bounded_host_is_named() -> None:
    assert doubts.of_host(QUIET, QUIET, 4) == []
    (load,) = doubts.of_host(replace(QUIET, load=7.0), replace(QUIET, load=9.0), 4)
    assert "7.0 before and 9.0 after on 8 CPUs" in load.seen
    (quota,) = doubts.of_host(replace(QUIET, quota=0.5), QUIET, 4)
    assert "4 threads ran on 0.5 CPUs, the container's quota" in quota.seen
    (usable,) = doubts.of_host(replace(QUIET, usable=2), QUIET, 4)
    assert usable.advice.endswith("give --threads 2")
    (governor,) = doubts.of_host(replace(QUIET, governor="powersave"), QUIET, 4)
    assert "'powersave'" in governor.seen


def test_a_gpu_that_is_shared_or_slowed_is_named() -> None:
    assert doubts.of_gpu([]) == []
    assert doubts.of_gpu([COOL, COOL]) == []
    (shared,) = doubts.of_gpu([replace(COOL, processes={7: 10}), COOL])
    assert shared.seen == "1 other process was on the GPU"
    (hot,) = doubts.of_gpu([COOL, replace(COOL, throttled=("power limit",), celsius=88)])
    assert "(power limit; up to 88 °C)" in hot.seen
    (slow,) = doubts.of_gpu([COOL, replace(COOL, sm_hertz=0.99e9)])
    assert "50.0 % of its highest clock" in slow.seen
    idle_before = [replace(COOL, sm_hertz=0.2e9), COOL]
    assert doubts.of_gpu(idle_before) == []


def test_a_launch_bound_run_is_named() -> None:
    assert doubts.of_launches(0.5) == []
    assert "--cuda-graph" in doubts.of_launches(0.97)[0].advice
