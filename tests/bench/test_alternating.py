from __future__ import annotations

import pytest

from dimbench.bench.alternating import alternate, ratios


class Clock:
    """A clock that calls move on by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_calls_take_turns_after_one_untimed_call_and_every_second_round_goes_backwards() -> None:
    clock, order = Clock(), []

    def call(name: str, seconds: float) -> None:
        order.append(name)
        clock.now += seconds * (10 if len(order) <= 2 else 1)  # the first calls are slow

    calls = {"a": lambda: call("a", 1), "b": lambda: call("b", 3)}
    assert alternate(calls, 3, clock) == {"a": [1, 1, 1], "b": [3, 3, 3]}
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"


def test_what_slows_a_round_does_not_move_the_ratio() -> None:
    clock, rounds = Clock(), []

    def call(seconds: float) -> None:
        clock.now += seconds * (1 + len(rounds))

    seconds = alternate({"a": lambda: call(1), "b": lambda: call(4)}, 5, clock, rounds.append)
    assert seconds["a"] == [1, 2, 3, 4, 5]
    assert ratios(seconds["b"], seconds["a"]) == pytest.approx([4] * 5)
    assert rounds == [0, 1, 2, 3, 4]
