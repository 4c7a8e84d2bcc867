from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dimbench.sampling.pipeline import one_behind


def test_results_come_in_order() -> None:
    assert list(one_behind(lambda x: 10 * x, range(5))) == [0, 10, 20, 30, 40]
    assert list(one_behind(str, [])) == []


def test_the_next_item_is_made_while_one_is_worked_on() -> None:
    made_second = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        made_second.set()
        yield 2

    # work on the first item ends only if the second is made meanwhile
    assert list(one_behind(lambda x: made_second.wait(timeout=60) and x, items())) == [1, 2]


def test_no_more_than_one_item_waits() -> None:
    made = []

    def items() -> Iterator[int]:
        for k in range(10):
            made.append(k)
            yield k

    results = one_behind(lambda x: x, items())
    next(results)
    assert made == [0, 1]


def test_a_failure_comes_out() -> None:
    with pytest.raises(ZeroDivisionError):
        list(one_behind(lambda x: 1 // x, [1, 0, 1]))
