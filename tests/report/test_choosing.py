"""Models side by side: what is known of each, and what may be said of two times."""

from __future__ import annotations

import pytest

from dimbench.report import choosing
from dimbench.report.choosing import Shortlist, faster, shortlist
from tests.report.records import bench


def timed(model: str, seconds: float, half: float = 0.01, macs: float = 6e9, **conditions: object) -> dict:
    record = bench(model, seconds, **conditions)
    bounds = {"seconds_low": seconds * (1 - half), "seconds_high": seconds * (1 + half)}
    return {**record, "metrics": {**record["metrics"], **bounds, "macs": macs}}


def chosen(*records: dict, **how: object) -> Shortlist:
    return shortlist(records, records, **how)


def test_times_are_of_the_conditions_that_most_records_are_of() -> None:
    records = [timed("dit-s2", 0.01, batch=8), timed("udit-s", 0.02, batch=8), timed("dit-s2", 0.005, run=1)]
    found = chosen(*records)
    assert [choice.metric("seconds") for choice in found.choices] == [0.01, 0.02]
    assert found.conditions["batch"] == 8
    assert [c.metric("seconds") for c in chosen(*records, where={"batch": 1}).choices] == [0.005, None]


def test_times_of_another_size_than_was_counted_are_left_out() -> None:
    counted = [timed("dit-s2", 0.01), timed("udit-s", 0.01)]
    others = [timed("dit-s2", 0.04, resolution=512), timed("udit-s", 0.05, resolution=512)]
    found = shortlist(counted, others)
    assert [choice.metric("seconds") for choice in found.choices] == [None, None]
    assert "Not shown: 2 times of these models under other conditions, or older." in choosing.table(found).notes


def test_what_was_timed_alike_is_counted_at_that_size() -> None:
    at_256 = [timed("dit-s2", 0.01, run=3), timed("udit-s", 0.01), timed("dit-xl2", 0.03)]
    found = choosing.timed_alike(
        [*at_256, timed("dit-s2", 0.04, resolution=512), timed("udit-s", 0.05, resolution=512)]
    )
    assert [(choice.model, choice.px) for choice in found.choices] == [(r["model"], "256") for r in at_256]
    assert found.choices[0].macs == 6055673856
    assert found.choices[0].metric("seconds") == 0.01


def test_of_what_was_measured_again_the_newest_counts() -> None:
    found = chosen(timed("dit-s2", 0.02, run=1), timed("dit-s2", 0.01))
    assert found.choices[0].metric("seconds") == 0.02


def test_what_nobody_measured_is_called_so() -> None:
    rows = choosing.table(shortlist([timed("dit-s2", 0.01), timed("udit-s", 0.02)], [timed("dit-s2", 0.01)])).rows
    assert "not measured" in rows[1]
    assert rows[0][4] == "10.00 ms ± 1.0 %"


def test_ratios_are_to_the_first_and_say_when_they_are_not_sure() -> None:
    found = chosen(timed("dit-s2", 0.01), timed("udit-s", 0.016), timed("sit-s2", 0.0101))
    table = choosing.table(found)
    place = list(table.columns).index("time x")
    assert [row[place] for row in table.rows] == ["1", "1.6", "~1.01"]
    assert any(note.startswith("~:") for note in table.notes)
    assert [entry["seconds_ratio"] for entry in found.entries()][1] == pytest.approx(1.6)


def test_the_best_stand_first_and_what_is_not_known_last() -> None:
    counted = [timed("dit-s2", 0.03), timed("udit-s", 0.02), timed("dit-xl2", 0.04)]
    found = shortlist(counted, counted[:2])
    assert [choice.model for choice in found.sorted("seconds").choices] == ["udit-s", "dit-s2", "dit-xl2"]
    assert [choice.model for choice in found.sorted("images").choices] == ["udit-s", "dit-s2", "dit-xl2"]
    assert [c.model for c in found.sorted("fid", keep_first=True).choices] == ["dit-s2", "dit-xl2", "udit-s"]


def test_fids_are_of_the_benchmark_that_is_asked_for() -> None:
    of = {name: shortlist([bench("dit-xl2")], [], name).choices[0].value("fid") for name in (None, "imagenet-512")}
    assert of == {None: 2.27, "imagenet-512": 3.04}
    assert shortlist([bench("my-own-net")], []).choices[0].published is None


def test_which_is_faster_is_said_where_the_intervals_tell() -> None:
    quick, slow = timed("dit-s2", 0.01), timed("udit-s", 0.016, macs=6.05e9)
    said = "udit-s is 1.6 x slower than dit-s2 at the same MACs (1.57 to 1.63 x by their 95 % intervals"
    assert faster([quick, slow]) == f"{said})."
    assert faster([{**quick, "warnings": ["hot"]}, slow]) == f"{said}; mind what is said of them above)."
    assert "slower than dit-s2 with 2 x the MACs (" in faster([quick, timed("udit-s", 0.0155, macs=12e9)])
    unsure = "udit-s may or may not be slower than dit-s2: these intervals do not tell."
    assert faster([quick, timed("udit-s", 0.0102)]) == unsure
    assert "do not tell" in faster([timed("dit-s2", 0.01, half=0.7), slow])
    assert faster([quick]) == ""
    assert faster([quick, timed("udit-s", 0.016, batch=4)]) == ""
