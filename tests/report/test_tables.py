"""Tables on screens of every width: what does not fit is wrapped, rounded or left out, and no number is cut."""

from __future__ import annotations

import copy
import csv
import io
import os
import pickle
import pty
import re
import subprocess
import sys

import pytest

from dimbench import units
from dimbench.report import fitting, tables
from dimbench.report.tables import Table

PROSE = "takes the outputs of attention again for some steps of the sampler"
TABLE = Table(
    ("model", "MACs", "what it does", "year", "of"),
    [
        ("dit-xl2", "118,621,421,568", PROSE, "2022", "nothing"),
        ("udit-s", "1,021,568", "little", "2024", "36.5 G of it"),
    ],
    first_out=("year",),
)


def shown(width: int | None, table: Table = TABLE) -> list[str]:
    return [line.rstrip() for line in table.drawn(width).lines]


def test_a_table_that_fits_is_whole() -> None:
    drawn = TABLE.drawn(200)
    assert drawn.lines == TABLE.drawn(None).lines
    assert drawn.says == ""
    assert drawn.lines[1].split()[:3] == ["model", "MACs", "what"]
    assert "118,621,421,568" in drawn.lines[3]
    assert len(set(map(len, drawn.lines))) == 1


def test_words_are_wrapped_and_counts_rounded() -> None:
    drawn = TABLE.drawn(80)
    assert max(map(len, drawn.lines)) <= 80
    text = "\n".join(drawn.lines)
    assert "118.62 G" in text
    assert "1.02 M" in text
    assert drawn.left_out == []
    assert drawn.says == "Counts rounded; --wide shows all."


def test_columns_go_in_the_order_that_is_stated() -> None:
    left_out = [TABLE.drawn(width).left_out for width in (80, 60, 46, 30)]
    assert left_out == [[], ["year"], ["year", "of"], ["what it does", "of"]]
    assert TABLE.drawn(46).says == "2 columns left out (year, of) and counts rounded; --wide shows all."


def test_a_column_comes_back_where_there_is_room_after_all() -> None:
    table = Table(("a", "b", "wide one"), [("x" * 10, "1", "2" * 30)], first_out=("b", "wide one"))
    assert table.drawn(30).left_out == ["wide one"]


@pytest.mark.parametrize("width", [24, 30, 40, 60, 80, 100])
def test_no_number_is_cut_or_leaves_its_unit(width: int) -> None:
    for line in shown(width):
        assert not re.search(r"36\.5$", line), line
        assert set(re.findall(r"\d[\d.,]*\d", line)) <= {"118.62", "1.02", "2022", "2024", "36.5"}, line


def test_letters_of_two_places_stand_in_line() -> None:
    lines = Table(("one", "two"), [("幅", "y"), ("abc", "z")]).drawn().lines
    assert lines[3].index("y") == lines[4].index("z") - 1


def test_a_number_stays_with_its_unit() -> None:
    assert list(fitting.wrapped("takes 36.5 G of it", 10)) == ["takes", "36.5 G of", "it"]


def test_notes_keep_their_indent() -> None:
    assert list(fitting.wrapped("  row: a b c d", 9)) == ["  row: a", "b c d"]


def test_a_pipe_gets_everything(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    TABLE.show()
    out = capsys.readouterr().out
    assert [line.rstrip() for line in out.splitlines()] == shown(None)


def test_a_terminal_is_asked_for_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "77")
    assert tables.screen_width() == 77
    with tables.wide():
        assert tables.screen_width() is None


def test_a_long_title_is_wrapped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    Table(("a",), [("b",)], "Some words of a title that are more than a narrow screen has room for").show()
    said = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert max(map(len, said.splitlines())) <= 40


@pytest.mark.parametrize(("wide", "widest"), [([], 60), (["--wide"], 100)])
def test_on_a_real_terminal(wide: list[str], widest: int) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "dimbench", "list", "dit-xl2", *wide]
    environment = {**os.environ, "COLUMNS": "60", "TERM": "xterm"}
    subprocess.run(command, stdout=slave, stderr=slave, stdin=subprocess.DEVNULL, env=environment, check=True)
    os.close(slave)
    said = os.read(master, 100_000).decode()
    os.close(master)
    lines = [line.rstrip("\r") for line in re.sub(r"\x1b\[[\d;]*m", "", said).splitlines()]
    assert widest - 30 < max(map(len, lines)) <= widest
    assert ("--wide shows all" in said) == (not wide)


def as_csv(capsys: pytest.CaptureFixture[str], *shown: Table) -> list[list[str]]:
    tables.show(shown, "csv")
    return list(csv.reader(io.StringIO(capsys.readouterr().out)))


def test_csv_holds_plain_numbers_and_names_units_above_them(capsys: pytest.CaptureFixture[str]) -> None:
    time = units.seconds(0.08641)
    rows = [
        ("dit", units.exact(6055673856), time.saying(f"{time} ± 1.9 %", (0.085, 0.088)), units.share(693, 1000)),
        ("udit", units.NOT_COUNTED, units.seconds(2.5e-6, 2).saying("2.5 µs of 1 sample"), ""),
    ]
    heading, *below = as_csv(capsys, Table(("model", "MACs", "time", "MFU"), rows))
    assert heading == ["model", "MACs", "time (s)", "time, low (s)", "time, high (s)", "MFU (share)"]
    assert below == [["dit", "6055673856", "0.08641", "0.085", "0.088", "0.693"], ["udit", "", "2.5e-06", "", "", ""]]


def test_csv_has_intervals_as_two_numbers_and_several_units_in_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        ("time", units.seconds(2.0), units.between(1.9, 2.1, units.seconds)),
        ("memory", units.size(5000), units.NOT_MEASURED),
    ]
    assert as_csv(capsys, Table(("what", "is", "95 %"), rows)) == [
        ["what", "is", "is, unit", "95 %, low (s)", "95 %, high (s)"],
        ["time", "2.0", "s", "1.9", "2.1"],
        ["memory", "5000", "B", "", ""],
    ]


def test_a_share_is_not_called_one_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_csv(capsys, Table(("share",), [(units.share(1, 4),)])) == [["share"], ["0.25"]]


def test_several_tables_are_parted_in_csv(capsys: pytest.CaptureFixture[str]) -> None:
    one = Table(("a",), [("b",)])
    assert as_csv(capsys, one, one) == [["a"], ["b"], [], ["a"], ["b"]]


def test_what_neighbours_share_is_said_once_to_the_eye_alone(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("dit", "256", "a"), ("dit", "256", "b"), ("dit", "512", "c")]
    table = Table(("family", "px", "name"), rows, said_once=("family", "px"))
    assert table.grouped() == [["dit", "256", "a"], ["", "", "b"], ["dit", "512", "c"]]
    assert [line.split() for line in shown(None, table)[3:-1]] == [["dit", "256", "a"], ["b"], ["dit", "512", "c"]]
    assert as_csv(capsys, table)[2] == ["dit", "256", "b"]


def test_an_amount_is_copied_whole() -> None:
    amount = units.between(1.0, 2.0, units.seconds)
    for same in (copy.deepcopy(amount), pickle.loads(pickle.dumps(amount))):
        assert (same, same.number, same.unit, same.ends) == ("1.000 s to 2.000 s", None, "s", (1.0, 2.0))
