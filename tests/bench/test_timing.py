from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import count, cycle

import pytest

from dimbench.bench import timing
from dimbench.bench.timing import Rules
from results import interval_coverage
from tests.bench.clocks import TICK, FakeCpu, FakeGpu


def test_steady_calls_stop_at_the_least_that_is_asked_for() -> None:
    device = FakeCpu()
    timed = timing.measure(device.call, device.clock, Rules())
    assert timed.reason == "interval"
    # A block fills 0.1 s with 6 calls. Warm-up: 1 call, then blocks until 1 s is full. Samples: blocks until 2 s are.
    assert (timed.warm_up.calls, timed.warm_up.stable) == (67, True)
    assert len(timed.seconds) == 132
    assert set(timed.seconds) == {TICK}
    assert timed.wall == 132 * TICK
    assert timed.calls_per_second == 1 / TICK
    assert device.calls == 67 + 132


def test_samples_that_swing_between_two_values_settle_without_a_narrow_interval() -> None:
    device = FakeCpu(cycle([TICK, 3 * TICK]))
    timed = timing.measure(device.call, device.clock, Rules())
    assert timed.reason == "settled"
    assert sorted(set(timed.seconds)) == [TICK, 3 * TICK]


def test_the_budget_ends_what_never_comes_to_rest() -> None:
    def slower_and_slower() -> Iterator[float]:
        return (TICK * (1 + k) for k in count())

    device = FakeCpu(slower_and_slower())
    timed = timing.measure(device.call, device.clock, Rules(budget=4.0))
    assert timed.reason == "budget"
    assert not timed.warm_up.stable
    assert timed.warm_up.seconds >= 2.0  # half the budget
    assert 4.0 <= device.time <= 4.0 + timed.seconds[-1]


def test_one_call_longer_than_the_budget_is_still_measured() -> None:
    device = FakeCpu(cycle([8.0]))
    timed = timing.measure(device.call, device.clock, Rules(budget=1.0))
    assert (timed.warm_up.calls, timed.seconds, timed.reason) == (1, [8.0], "budget")


def test_the_warm_up_waits_until_calls_take_equally_long() -> None:
    device = FakeCpu(TICK * 1.05 ** max(0, 60 - k) for k in count())
    timed = timing.measure(device.call, device.clock, Rules())
    assert timed.warm_up.stable
    assert max(timed.seconds) == pytest.approx(TICK)


def test_a_gpu_is_timed_by_its_own_marks_and_not_by_the_host() -> None:
    device = FakeGpu(launch=2**-12, kernel=2**-10)
    timed = timing.measure(device.call, device.clock, Rules.of("cuda", 60.0))
    # The first call of a block waits for its first launch, the others follow without a gap.
    assert timing.stats.median(timed.seconds) == 16 * 2**-10
    assert timed.wall == pytest.approx(sum(timed.seconds), rel=0.01)


@pytest.mark.parametrize(("launch", "kernel", "bound"), [(2**-10, 2**-12, True), (2**-12, 2**-10, False)])
def test_a_device_that_waits_for_the_host_is_known_by_its_launches(launch: float, kernel: float, bound: bool) -> None:
    device = FakeGpu(launch, kernel)
    share = timing.launch_share(device.call, device.clock)
    assert (share > 0.9) is bound
    assert share == pytest.approx(16 * launch / (16 * launch + kernel) if bound else 16 / (16 * 4 + 1), rel=1e-9)


def test_one_call_waits_for_the_device_before_and_after() -> None:
    device = FakeGpu(launch=0.0, kernel=TICK, kernels=1)
    device.call()  # still running when the clock starts
    assert timing.one_call(device.call, device.clock) == TICK


def test_no_garbage_is_collected_between_the_marks() -> None:
    device, seen = FakeCpu(), set()

    def call() -> None:
        seen.add(gc.isenabled())
        device.call()

    timing.measure(call, device.clock, Rules(budget=1.0))
    assert seen == {False}
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("seconds", "alike", "given"),
    [(0.02, 0.0, 0.9), (0.02, 0.9, 0.9), (0.2, 0.9, 0.9), (1.0, 0.0, 0.9), (1.0, 0.9, 0.1)],
)
def test_the_interval_holds_the_median_of_calls_that_are_alike(
    seconds: float, alike: float, given: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """90 % of those that are given are asked for; the standard error is at most 0.04 of 60 series, and two of them are
    left to chance. The interval for independent samples holds it in about half of those that are alike. Calls of a
    second, few and alike, seldom get an interval: that is said."""
    monkeypatch.setattr(gc, "collect", lambda: None)  # takes longer than all the calls of a series
    found = interval_coverage.coverage(seconds, alike, 400 if given < 0.5 else 60)
    assert found["held"] >= 0.82
    assert found["given"] > given
    assert found["plain"] < 0.6 or not alike


def test_progress_says_phase_and_median() -> None:
    device = FakeCpu()
    said: list[tuple[str, float]] = []
    timing.measure(device.call, device.clock, Rules(), lambda phase, _, median: said.append((phase, median)))
    assert [phase for phase, _ in said].index("measuring") == 12  # 1 call and 11 blocks of warm-up
    assert {median for _, median in said} == {TICK}
