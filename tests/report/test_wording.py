from __future__ import annotations

from dimbench.report.wording import Trait, plain, shape, shared, traits, words


def test_what_is_shared_is_the_same_wherever_it_applies() -> None:
    rows = [{"dtype": "bf16", "batch": 1, "steps": 50}, {"dtype": "bf16", "batch": 8, "steps": 50}, {"dtype": "bf16"}]
    assert shared(rows) == {"dtype": "bf16", "steps": 50}
    assert shared([*rows, {"compile": "max"}]) == {"dtype": "bf16", "steps": 50}  # compile is one row's own
    assert shared(rows[:1]) == rows[0]
    assert shared([]) == {}


def test_words_of_conditions() -> None:
    conditions = {"batch": 8, "device_name": "H100", "compile": False, "kernel": None, "kernels": {}, "cfg": True}
    assert words(conditions, {"batch": 8}) == "device name H100, cfg yes"
    assert words({**conditions, "seed": 0}) == "batch 8, device name H100, cfg yes, seed 0"
    assert plain({"haar": "cpu", "scan": None}) == "haar cpu + scan none"
    assert plain([1, True]) == "1 + yes"
    assert plain({}) == plain([]) == "none"


def test_a_size_is_that_of_images_or_what_the_network_was_called_with() -> None:
    assert shape({"resolution": 256}) == "256 px"
    assert shape({"resolution": 160, "width": 320}) == "160x320 px"
    assert shape({"inputs": "x=6x16"}) == "x=6x16"
    assert shape({}) == "its own shape"


def test_traits_of_two_sides_differ_pair_by_pair() -> None:
    machines = [{"torch": "2.14", "cpus": 2}, {"torch": "2.15", "cpus": 2}]
    assert traits(machines, machines) == [
        Trait("torch", [["2.14", "2.15"], ["2.14", "2.15"]], differs=False),
        Trait("cpus", [["2"], ["2"]], differs=False),
    ]
    assert [trait.differs for trait in traits(machines, machines[::-1])] == [True, False]
    assert traits(machines[:1], [{"cpus": 2}])[0] == Trait("torch", [["2.14"], ["none"]], differs=True)


def test_traits_of_one_side_differ_within_it() -> None:
    machines = [{"torch": "2.14", "cpus": 2}, {"torch": "2.15", "cpus": 2}, {"torch": "2.15", "cpus": 2}]
    assert traits(machines) == [Trait("torch", [["2.15", "2.14"]], True), Trait("cpus", [["2"]], False)]
