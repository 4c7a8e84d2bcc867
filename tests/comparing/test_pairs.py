"""Which records are compared, and which are left out with what sentence."""

from __future__ import annotations

import math

import pytest

from dimbench.comparing import pairs
from dimbench.errors import DimbenchError, UsageError
from tests.comparing.rounds_of import entry


def metrics(found: list[pairs.Pair]) -> list[str]:
    return [pair.metric for pair in found]


def test_the_same_row_in_two_files() -> None:
    found, left_out = pairs.of_files([entry(seconds=0.01)], [entry(seconds=0.02)])
    assert metrics(found) == ["macs", "params", "seconds"]
    assert found[2].figures == (0.01, 0.02)
    assert left_out == []
    also, _ = pairs.of_files([entry()], [entry()], ["images_per_second"])
    assert "images_per_second" in metrics(also)


def test_files_measured_one_after_the_other_prove_nothing() -> None:
    first, second = [entry(k) for k in range(20)], [entry(100 + k) for k in range(20)]
    found, _ = pairs.of_files(first, second)
    assert [pair.obstacle for pair in found] == [pairs.IN_TURN] * 3


def test_files_measured_in_turn_are_rounds() -> None:
    times = [(k, k + 1) if k % 4 else (k + 1, k) for k in range(0, 2 * pairs.MIN_ROUNDS, 2)]
    base, new = ([entry(time[side], seconds=0.01 + time[side]) for time in times] for side in (0, 1))
    found, _ = pairs.of_files(list(reversed(base)), new)
    assert [pair.obstacle for pair in found] == [""] * 3
    assert found[2].base == tuple(0.01 + time[0] for time in times)
    fewer, _ = pairs.of_files(base[1:], new[1:])
    assert fewer[2].obstacle == pairs.IN_TURN


@pytest.mark.parametrize(
    "change", [{"device_name": "another"}, {"processor": "another"}, {"cpus": 64}, {"threads": 8}], ids=str
)
def test_another_machine_counts_the_same_but_its_time_does_not_compare(change: dict[str, object]) -> None:
    base, new = ([entry(2 * k + side, **(change if side else {})) for k in range(9)] for side in (0, 1))
    found, left_out = pairs.of_files(base, new)
    assert left_out == []
    assert found[2].metric == "seconds"
    assert found[2].obstacle.startswith("other machine: ")
    assert str(next(iter(change.values()))) in found[2].obstacle


def test_unlike_conditions_are_named() -> None:
    base = [entry(batch=1), entry(batch=8, kernel="cpu"), entry(model="dit-s2")]
    new = [entry(batch=1), entry(batch=16, kernel="cpu"), entry(model="sit-s2")]
    found, left_out = pairs.of_files(base, new)
    assert {pair.conditions["batch"] for pair in found} == {1}
    assert left_out == [
        "bench dit-digits left out: batch is 8 in BASE and 16 in NEW",
        "bench dit-s2 is only in BASE",
        "bench dit-digits left out: batch is 16 in NEW and 8 in BASE",
        "bench sit-s2 is only in NEW",
    ]


def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(UsageError, match=r"batch is 1 in BASE and 8 in NEW.*kernel is not given") as error:
        pairs.of_files([entry()], [entry(batch=8, kernel="cpu")])
    assert error.value.exit_code == 2
    with pytest.raises(UsageError, match="no records of metrics"):
        pairs.of_files([], [])


def test_rounds_go_by_position_and_name_what_differs() -> None:
    rounds = [([entry(kernel="cpu"), entry(batch=8)], [entry(kernel="reference"), entry(batch=8)]) for _ in range(3)]
    found = pairs.of_rounds(rounds)
    assert metrics(found) == ["macs", "params", "seconds"] * 2
    assert found[0].differing == {"kernel": ("cpu", "reference")}
    assert "kernel" not in found[0].conditions
    assert found[3].differing == {}
    assert found[3].conditions["batch"] == 8
    assert len(found[0].base) == 3


def test_rounds_of_unlike_rows_are_refused() -> None:
    with pytest.raises(DimbenchError, match="BASE measured 1 rows and NEW 2"):
        pairs.of_rounds([([entry()], [entry(), entry()])])


def test_the_clock_of_a_gpu_is_the_one_under_load() -> None:
    states = {"details": {"gpu": [{"sm_hertz": 3e8}, {"sm_hertz": 1.9e9}]}}
    (found, *_) = pairs.of_rounds([([entry() | states], [entry()])])
    assert found.hertz == ((1.9e9,), ())


def test_machines_and_thread_counts_are_not_merged_into_rounds() -> None:
    """Two of unlike speed, each unchanged: merged, the median of BASE would be one's and of NEW the other's."""
    fast = [entry(k, seconds=0.01, threads=8) for k in range(9)]
    slow = [entry(100 + k, seconds=0.02, threads=1) for k in range(9)]
    found, left_out = pairs.of_files([*fast, *slow[:2]], [*fast[:2], *slow])
    seconds = {pair.conditions["threads"]: pair.figures for pair in found if pair.metric == "seconds"}
    assert seconds == {8: (0.01, 0.01), 1: (0.02, 0.02)}
    assert left_out == []


def test_a_machine_that_one_side_lacks_is_named_or_lends_its_counts() -> None:
    base = [entry(processor="first"), entry(processor="second")]
    found, left_out = pairs.of_files(base, [entry(processor="second")])
    assert {pair.obstacle for pair in found} == {pairs.IN_TURN}
    assert left_out == [
        "bench dit-digits left out: only BASE has it of the machine first, 2 cpus, a processor, 1 threads"
    ]
    found, left_out = pairs.of_files(base, [entry(processor="third", macs=1001)])
    assert [pair.figures for pair in found if pair.metric == "macs"] == [(1000, 1001)]
    assert found[0].obstacle.startswith("other machine: first")
    assert len(left_out) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
def test_what_is_no_number_is_a_figure_that_is_gone(value: float) -> None:
    found, _ = pairs.of_files([entry()], [entry(macs=value)])
    assert found[0].figures == (1000, None)
    assert found[0].missing == f"the record says {value}"


def test_huge_counts_are_numbers() -> None:
    found, _ = pairs.of_files([entry()], [entry(macs=10**400)])
    assert found[0].figures == (1000, 10**400)


def test_a_row_that_ran_out_of_memory_keeps_its_place() -> None:
    found, _ = pairs.of_files([entry()], [entry(seconds=None) | {"warnings": ["Ran out of memory."]}])
    assert found[2].figures == (0.01, None)
    assert found[2].missing == "Ran out of memory."
    both, _ = pairs.of_files([entry(seconds=None)], [entry(seconds=None)])
    assert metrics(both) == ["macs", "params"]


def test_a_metric_that_only_base_has_is_lost_and_one_that_only_new_has_is_no_row() -> None:
    whole, less = entry(0), entry(1)
    less["metrics"] = {name: value for name, value in less["metrics"].items() if name != "macs"}
    (lost,) = [pair for pair in pairs.of_files([whole], [less])[0] if pair.metric == "macs"]
    assert (lost.base, lost.new) == ((1000,), (None,))
    assert "macs" not in {pair.metric for pair in pairs.of_files([less], [whole])[0]}


@pytest.mark.parametrize("states", ["a text", 5, {"a": 1}, [1], [{}], [{"sm_hertz": "fast"}], [None]])
def test_states_of_a_gpu_that_are_none_are_not_read(states: object) -> None:
    sides = [{**entry(number), "details": {"gpu": states}} for number in (0, 1)]
    assert {pair.hertz for pair in pairs.of_files(sides[:1], sides[1:])[0]} == {((), ())}


def of_weights(weights: str, fid: float, **more: object) -> dict[str, object]:
    made = entry(command="fid", fid=fid, fid_error=0.1, **more)
    return {**made, "conditions": {**made["conditions"], "weights": weights}}


def test_fids_of_the_same_protocol_pair_though_their_weights_differ() -> None:
    found, left_out = pairs.of_files([of_weights("0123", 2.0)], [of_weights("4567", 1.5)])
    assert left_out == []
    (pair,) = found
    assert (pair.figures, pair.errors) == ((2.0, 1.5), (0.1, 0.1))
    assert pair.differing == {"weights": ("0123", "4567")}
    assert "weights" not in pair.conditions


def test_equal_weights_pair_first_and_two_strangers_do_not() -> None:
    base = [of_weights("0123", 2.0), of_weights("random", 99.0)]
    found, left_out = pairs.of_files(base, [of_weights("0123", 1.5)])
    assert [pair.figures for pair in found] == [(2.0, 1.5)]
    assert "weights is random in BASE and 0123 in NEW" in left_out[0]
    with pytest.raises(UsageError, match="weights is 0123 in BASE and 89ab in NEW"):
        pairs.of_files(base, [of_weights("89ab", 1.0)])


def test_another_seed_is_another_protocol() -> None:
    with pytest.raises(UsageError, match="seed is 0 in BASE and 1 in NEW"):
        pairs.of_files([of_weights("0123", 2.0, seed=0)], [of_weights("4567", 2.0, seed=1)])
