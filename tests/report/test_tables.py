"""Tables on screens of every width: what does not fit is wrapped, rounded or left out, and no number is cut."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

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
