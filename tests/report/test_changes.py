"""What people read of changes, and what is stored of them."""

from __future__ import annotations

from dimbench.comparing import pairs
from dimbench.comparing.estimate import Noise
from dimbench.comparing.judge import Change, confirm, judge
from dimbench.report import changes
from tests.comparing.rounds_of import entry, noisy


def judged(rounds: list[pairs.Round], noise: Noise | None = None) -> list[Change]:
    found = pairs.of_rounds(rounds)
    return judge(found, {}, [noise] * len(found))


def rounds(factor: float, count: int = 10, **more: int) -> list[pairs.Round]:
    base, new = noisy(count, seed=1), noisy(count, factor, seed=2)
    return [([entry(seconds=b, **more)], [entry(seconds=n, **more)]) for b, n in zip(base, new, strict=True)]


def test_rows_are_told_apart_by_the_conditions_that_vary() -> None:
    found = judged([([entry(batch=1), entry(batch=8)], [entry(batch=1), entry(batch=8)])] * 3)
    table = changes.table(found, [], whole=True)
    assert {row[0] for row in table.rows} == {"dit-digits, batch 1", "dit-digits, batch 8"}
    assert table.notes[1] == "Conditions: device cpu, device_name a processor, threads 1."


def test_rows_of_two_commands_are_told_apart() -> None:
    sides = [[entry(macs=macs), {**entry(macs=macs), "command": "flops"}] for macs in (1000, 2500)]
    found, _ = pairs.of_files(*sides)
    rows = changes.table(judge(found, {}, [None] * len(found)), []).rows
    assert {row[0] for row in rows if row[1] == "macs"} == {"dit-digits, bench", "dit-digits, flops"}


def test_cells() -> None:
    found = judged(rounds(1.2))
    seconds = found[2]
    row = changes.table([confirm(seconds, seconds)], []).rows[0]
    assert row[1:3] == ["seconds", "9.977 ms"]
    assert row[4].startswith("+2")
    assert " to +" in row[5]
    assert row[6:] == ["5.0 %", "10", "slower (confirmed)"]
    (counted, *_), _ = pairs.of_files([entry(macs=1000)], [entry(macs=2500)])
    assert changes.table(judge([counted], {}, [None]), []).rows[0][2:7] == ["1,000", "2,500", "+150.0 %", "exact", "0"]


def test_what_changed_most_stands_first_and_what_is_equal_in_a_line() -> None:
    found = judged([*rounds(1.2)])
    table = changes.table(found, [])
    assert [row[1] for row in table.rows] == ["seconds"]
    assert table.notes[0] == "Equal: 2 of 3 rows (macs of 1, params of 1)."
    assert len(changes.table(found, [], whole=True).rows) == 3
    pairs_, _ = pairs.of_files([entry(macs=1000, params=50)], [entry(macs=1001, params=60)])
    exact = changes.table(judge(pairs_, {}, [None] * len(pairs_)), [])
    assert [(row[1], row[4]) for row in exact.rows][:2] == [("params", "+20.0 %"), ("macs", "+0.1 %")]


def test_why_and_what_differs_stand_below() -> None:
    alike = [([entry(commit="old")], [entry(commit="new")]) for _ in range(1)]
    notes = changes.table(judged(alike), ["the end"]).notes
    assert "unclear: too few rounds or too much noise to tell (dit-digits seconds)." in notes
    assert "Differs: commit: old in BASE, new in NEW." in notes
    assert notes[-1] == "the end"


def test_where_a_margin_comes_from_is_said() -> None:
    loud = Noise(0.1)
    assert "not known" in changes.margins(judged(rounds(1)), {})[0]
    assert "* widened to 2 half-widths" in changes.margins(judged(rounds(1), loud), {"a processor": loud})[0]
    assert changes.table(judged(rounds(1), loud), []).rows[0][6].endswith(" %*")
    assert changes.margins(judged(rounds(1), Noise(0.001)), {"a processor": Noise(0.001)}) == []


def test_the_record_keeps_every_round() -> None:
    first, second = judged(rounds(1.2))[2], judged(rounds(1.2, count=12))[2]
    record = changes.record(confirm(first, second), order=["ABBA"])
    assert {name: len(series) for name, series in record.samples.items()} == {
        "base": 10,
        "new": 10,
        "base_again": 12,
        "new_again": 12,
    }
    assert set(record.metrics) == {"base", "new", "ratio", "low", "high", "margin"}
    assert (record.details["verdict"], record.details["confirmed"]) == ("slower", True)
    assert record.details["order"] == ["ABBA"]
