"""Verdicts from plain numbers: what is found, what is not claimed, and how often either errs."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from dimbench import stats
from dimbench.comparing.estimate import Noise, estimate, holm
from dimbench.comparing.gates import Gate, Verdict, parse_gate
from dimbench.comparing.judge import Change, Pair, confirm, failing, judge
from dimbench.errors import UsageError
from tests.comparing.rounds_of import noisy


def pair(base: list[float | None], new: list[float | None], metric: str = "seconds", **more: Any) -> Pair:
    return Pair("bench", "dit-digits", {"batch": 1}, metric, tuple(base), tuple(new), **more)


def verdict(one: Pair, margin: float | None = None, noise: Noise | None = None) -> Change:
    return judge([one], {one.metric: margin} if margin else {}, [noise])[0]


def slowed(factor: float, rounds: int = 10, spread: float = 0.02, seed: int = 0, metric: str = "seconds") -> Pair:
    return pair([*noisy(rounds, 1, spread, 2 * seed)], [*noisy(rounds, factor, spread, 2 * seed + 1)], metric)


def test_interval_is_students() -> None:
    found = estimate([0.1, 0.2, 0.3])
    half = stats.t_quantile(0.95, 2) * 0.1 / math.sqrt(3)
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, 0.2 - half, 0.2 + half))
    assert found.superiority == 1


def test_superiority_counts_rounds_that_agree_and_half_of_ties() -> None:
    assert estimate([1, 1, 1, -1, 0]).superiority == pytest.approx(0.7)
    assert estimate([-1, -1, -1, 1, 0]).superiority == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(1.2, Verdict.SLOWER), (1 / 1.2, Verdict.FASTER), (1.0, Verdict.SAME), (1.04, Verdict.UNCLEAR)],
)
def test_verdicts(factor: float, expected: Verdict) -> None:
    change = verdict(slowed(factor))
    assert change.verdict is expected
    assert change.ratio == pytest.approx(factor, rel=0.02)
    assert change.low is not None
    assert change.high is not None
    assert change.low < change.ratio < change.high
    assert change.worsened is (expected is Verdict.SLOWER)
    assert not change.confirmed


@pytest.mark.parametrize("figure", [0.0, -1.0])
def test_a_time_that_is_not_above_zero_proves_nothing(figure: float) -> None:
    change = verdict(pair([1.0] * 10, [figure] * 10))
    assert (change.verdict, change.reason) == (Verdict.UNCLEAR, "a figure is not above 0")


def test_figures_of_absurd_sizes_have_a_verdict() -> None:
    change = verdict(pair([1e29, 5e-324, 1e-300, 1.0] * 2, [5e-324, 1e29, 1e29, 1.0] * 2))
    assert (change.verdict, change.high) == (Verdict.UNCLEAR, None)


def test_a_gpu_has_a_narrower_margin() -> None:
    slow = slowed(1.035, spread=0.005)
    assert verdict(slow).verdict is Verdict.SAME
    assert verdict(replace(slow, conditions={"device": "cuda"})).verdict is Verdict.SLOWER
    assert verdict(replace(slow, conditions={"device": "cuda"}), margin=0.05).verdict is Verdict.SAME


def test_fewer_images_per_second_is_slower() -> None:
    change = verdict(slowed(1 / 1.2, metric="images_per_second"), margin=0.05)
    assert change.verdict is Verdict.SLOWER
    assert change.ratio is not None
    assert change.low is not None
    assert change.high is not None
    assert change.low < change.ratio < change.high < 1


def test_more_memory_is_worse_and_needs_no_spread() -> None:
    change = verdict(pair([100.0] * 3, [110.0] * 3, "peak_bytes"), noise=Noise(0.5))
    assert (change.verdict, change.low, change.high) == (Verdict.WORSE, pytest.approx(1.1), pytest.approx(1.1))
    assert verdict(pair([100.0] * 3, [100.0] * 3, "peak_bytes")).verdict is Verdict.SAME


def test_a_gpu_that_only_lowered_its_clock_is_not_slower() -> None:
    slow = slowed(1.2)
    steady = (1e9,) * 10
    assert verdict(replace(slow, hertz=(steady, steady))).verdict is Verdict.SLOWER
    change = verdict(replace(slow, hertz=(steady, tuple(hertz / 1.2 for hertz in steady))))
    assert change.verdict is Verdict.UNCLEAR
    assert "the clock changed: in cycles it is " in change.reason
    assert verdict(replace(slow, hertz=(steady, steady[1:]))).verdict is Verdict.SLOWER  # not known in every round


def test_the_machines_noise_widens_the_margin_but_not_what_is_called_same() -> None:
    loud = Noise(0.2)
    change = verdict(slowed(1.2), noise=loud)
    assert change.verdict is Verdict.UNCLEAR
    assert change.noise_margin
    assert change.margin == pytest.approx(math.expm1(2 * loud.half_width(10)))
    assert verdict(slowed(1.0), noise=loud).verdict is Verdict.SAME
    assert verdict(slowed(1.0, spread=0.2), noise=loud).verdict is Verdict.UNCLEAR


def test_more_rounds_narrow_the_noise() -> None:
    assert verdict(slowed(1.2, rounds=160), noise=Noise(0.2)).verdict is Verdict.SLOWER


def test_a_few_extreme_rounds_are_no_slowdown() -> None:
    base = [0.01] * 40
    new = [0.0101] * 26 + [0.0099] * 14
    new[:12] = [0.02] * 12
    change = verdict(pair([*base], [*new]))
    assert change.low is not None
    assert change.low > 1.05  # by its interval alone it would be slower
    assert change.verdict is Verdict.UNCLEAR
    assert "65% of the rounds" in change.reason


def test_one_round_and_a_zero_say_nothing() -> None:
    change = verdict(slowed(5, rounds=1))
    assert (change.verdict, change.low) == (Verdict.UNCLEAR, None)
    assert verdict(pair([0.0] * 9, [1.0] * 9)).verdict is Verdict.UNCLEAR


def test_exact_metrics_are_equal_or_changed() -> None:
    assert verdict(pair([7], [7], "macs")).verdict is Verdict.EQUAL
    fewer = verdict(pair([7], [6], "macs"))
    assert (fewer.verdict, fewer.worsened, fewer.confirmed) == (Verdict.CHANGED, True, True)


def test_a_figure_that_is_gone_is_worse_and_one_that_came_is_not() -> None:
    gone, came = verdict(pair([0.1] * 3, [0.1, None, 0.1])), verdict(pair([None], [0.1]))
    assert (gone.verdict, gone.worsened, gone.reason) == (Verdict.CHANGED, True, "NEW has no figure")
    assert (came.verdict, came.worsened) == (Verdict.CHANGED, False)


@pytest.mark.parametrize(
    ("metric", "new", "expected"),
    [
        ("fid", 2.06, Verdict.WORSE),
        ("fid", 2.04, Verdict.SAME),
        ("fid", 1.9, Verdict.BETTER),
        ("recall", 1.9, Verdict.WORSE),
    ],
)
def test_quality_is_compared_by_its_difference(metric: str, new: float, expected: Verdict) -> None:
    change = verdict(pair([2.0], [new], metric), margin=0.05)
    assert change.verdict is expected
    assert change.worsened is (expected is Verdict.WORSE)
    assert change.confirmed is (expected is not Verdict.SAME)


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.001, 0.02]) == [True, True, True]
    assert holm([0.04, 0.001, 0.03]) == [False, True, False]
    assert holm([]) == []


def test_many_rows_share_one_chance_of_a_false_alarm() -> None:
    """With 20 unchanged rows a row at p = 0.01 is nothing special."""
    lonely = pair(
        [0.01] * 10, [0.0106 * math.exp(0.07 * z) for z in (-1.2, -0.9, -0.6, 0.2, 0.9, 1, 1.1, 1.3, 1.4, 1.5)]
    )
    (alone,) = judge([lonely], {}, [None])
    assert alone.verdict is Verdict.SLOWER
    among = judge([lonely, *(slowed(1, seed=seed) for seed in range(1, 20))], {}, [None] * 20)
    assert among[0].verdict is Verdict.UNCLEAR


def test_what_is_worse_twice_is_confirmed_and_once_is_unclear() -> None:
    first = verdict(slowed(1.2))
    assert confirm(first, verdict(slowed(1.2, seed=1))).confirmed
    doubtful = confirm(first, verdict(slowed(1.0, seed=1)))
    assert (doubtful.verdict, doubtful.worsened, doubtful.confirmed) == (Verdict.UNCLEAR, False, False)
    assert doubtful.reason == "first slower, then same when compared again"


def test_only_confirmed_gated_changes_fail() -> None:
    slower = verdict(slowed(1.2))
    gates = [parse_gate("seconds:+5%")]
    assert failing([slower], gates, False) == []
    confirmed = confirm(slower, slower)
    assert failing([confirmed], gates, False) == [confirmed]
    assert failing([confirmed], [parse_gate("macs")], False) == []
    unclear = verdict(slowed(1.04))
    assert failing([unclear], gates, False) == []
    assert failing([unclear], gates, True) == [unclear]


def test_gates() -> None:
    assert parse_gate("seconds:+7.5%") == Gate("seconds", 0.075)
    assert parse_gate("images_per_second:-5%") == Gate("images_per_second", 0.05)
    assert parse_gate("fid:+0.05") == Gate("fid", 0.05)
    assert parse_gate("macs") == Gate("macs")
    assert parse_gate("seconds") == Gate("seconds")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("second:+5%", "did you mean seconds?"),
        ("", "give one of macs"),
        ("macs:+5%", "compared by equality; give --fail-if macs"),
        ("seconds:-5%", "write it as seconds:+5%"),
        ("seconds:5", "write it as seconds:+5%"),
        ("seconds:+0%", "write it as seconds:+5%"),
        ("fid:+5%", "write it as fid:+0.05"),
        ("images_per_second", "write it as images_per_second:-5%"),
    ],
)
def test_gates_that_do_not_fit(text: str, words: str) -> None:
    with pytest.raises(UsageError, match="--fail-if") as error:
        parse_gate(text)
    assert words in str(error.value)


TRIALS = 300
FALSE_ALARMS = 0.05  # half the two-sided 5 % is expected, 7.5 of 300; twice that is 2.8 standard deviations more


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.3])
def test_unchanged_code_is_hardly_ever_slower(spread: float) -> None:
    """Noise drawn from known distributions, half the processes in a mode of their own."""
    lot = random.Random(1)

    def process() -> float:
        return 0.01 * lot.lognormvariate(0, spread) * lot.choice((1, 1 + spread))

    pairs = [pair([process() for _ in range(10)], [process() for _ in range(10)]) for _ in range(TRIALS)]
    found = Counter(verdict(one).verdict for one in pairs)
    assert found[Verdict.SLOWER] <= FALSE_ALARMS * TRIALS


def trainings(base: float, new: float, *errors: float | None, metric: str = "fid") -> Pair:
    weights = {"weights": ("0123", "4567")}
    return pair([base], [new], metric, differing=weights, errors=errors or (0.01, 0.01))


@pytest.mark.parametrize(
    ("one", "expected", "reason"),
    [
        (trainings(2.0, 2.1), Verdict.WORSE, ""),
        (trainings(2.0, 1.9, metric="fid_mean"), Verdict.BETTER, ""),
        (trainings(2.0, 2.1, 0.05, 0.05), Verdict.CANNOT_TELL, "the interval holds 0"),
        (trainings(2.0, 2.02, 0.001, 0.001), Verdict.CANNOT_TELL, "below 1.3 % nothing is a difference between"),
        (trainings(2.0, 2.5, 0.001, None), Verdict.CANNOT_TELL, "a record says no error of its figure"),
    ],
)
def test_fids_of_two_trainings_are_told_apart_by_their_intervals(one: Pair, expected: Verdict, reason: str) -> None:
    (change,) = judge([one], {}, [None])
    assert (change.verdict, change.worsened) == (expected, expected is Verdict.WORSE)
    assert change.reason.startswith(reason)
    gate = [Gate(one.metric)]
    assert failing([change], gate, unclear_too=False) == ([change] if expected is Verdict.WORSE else [])
    assert failing([change], gate, unclear_too=True) == ([] if expected is Verdict.BETTER else [change])


def test_the_difference_of_two_trainings_has_an_interval_and_the_user_a_margin() -> None:
    (change,) = judge([trainings(2.0, 2.1, 0.03, 0.04)], {}, [None])
    assert change.between == pytest.approx((0.1 - 1.96 * 0.05, 0.1 + 1.96 * 0.05), abs=1e-4)
    (within,) = judge([trainings(2.0, 2.1)], {"fid": 0.2}, [None])
    assert (within.verdict, within.reason) == (Verdict.CANNOT_TELL, "the difference is within the margin")
