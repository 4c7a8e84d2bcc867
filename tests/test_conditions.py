from __future__ import annotations

import pytest

from dimbench import conditions

TAKEN = {"batch": 1, "dtype": "fp32", "threads": 8, "kernel": "scan cpu", "steps": None, "guided": False}


@pytest.mark.parametrize("name", [*TAKEN, "a condition of tomorrow"])
def test_every_condition_parts_but_those_without_effect(name: str) -> None:
    assert conditions.key({**TAKEN, name: "other"}) != conditions.key(TAKEN)
    assert conditions.key({**TAKEN, name: "other"}, [name]) == conditions.key(TAKEN, [name])
    assert conditions.differing(TAKEN, {**TAKEN, name: "other"}) == [name]


def test_what_is_off_goes_without_saying() -> None:
    bare = {name: value for name, value in TAKEN.items() if value}
    assert conditions.key(bare) == conditions.key({**TAKEN, "methods": {}, "cuda_graph": False})
    assert conditions.differing(bare, TAKEN) == []
    assert conditions.key({"cfg": 0}) != conditions.key({})  # zero is a value


def test_the_order_of_conditions_does_not_matter() -> None:
    assert conditions.key(dict(reversed(TAKEN.items()))) == conditions.key(TAKEN)


def test_what_varies_is_named_wherever_it_is() -> None:
    assert conditions.varying([TAKEN, TAKEN]) == []
    assert conditions.varying([{"a": 1}, {"a": 1, "b": 2}, {"a": 3}]) == ["a", "b"]
