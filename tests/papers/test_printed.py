from __future__ import annotations

from pathlib import Path

import pytest

from dimbench import preset_files, presets
from dimbench.errors import DimbenchError, UsageError
from dimbench.papers import printed as tables
from dimbench.papers.printed import PaperTable

ALL = list(tables.all_tables().values())
MINE = """
title = "Two models"
source = "me"
rule = "dit-paper"
conditions = { resolution = 256, cfg = 1.0 }
columns = { Gflops = "gflops", FID = "fid" }
rows = [
    { label = "A", model = "dit-s8", cells = ["0.36", ""] },
    { label = "B", cells = ["1.0", "2.5"], conditions = { cfg = 1.5 }, second_hand = "you" },
]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tables to which a test adds its own."""
    (tmp_path / "tables").mkdir()
    monkeypatch.setattr(preset_files, "folder", lambda: tmp_path)
    tables.all_tables.cache_clear()
    yield tmp_path / "tables"
    tables.all_tables.cache_clear()


@pytest.mark.parametrize("table", ALL, ids=lambda table: table.name)
def test_every_table_is_whole(table: PaperTable) -> None:
    from dimbench.counting.rules import RULES

    assert table.title
    assert table.source
    assert table.rows
    for row in table.rows:
        assert row.resolution or not row.model, row.label
        assert row.rule in RULES
        assert row.params_rule in tables.PARAMETERS
        for index, column in enumerate(table.columns):
            figure = table.figure(row, index)
            assert figure or column.name == "setting" or not row.cells[index], (row.label, row.cells[index])
        if row.checkpoint:
            assert row.checkpoint in {entry.file for entry in presets.find(row.model).checkpoints}


def test_each_paper_has_its_tables() -> None:
    names = set(tables.all_tables())
    assert {"dit-4", "sit-256", "dimsum-speed", "dico-1", "survey-mmdit-1"} <= names
    assert {f"udit-{number}" for number in range(1, 12)} <= names
    assert list(tables.all_tables())[-1].startswith("survey")
    assert [name for name in tables.all_tables() if name.startswith("udit")][1:3] == ["udit-2", "udit-3"]


def test_a_table_is_added_by_a_file(folder: Path) -> None:
    (folder / "mine-1.toml").write_text(MINE)
    table = tables.find("Mine 1")
    first, second = table.rows
    assert (first.resolution, first.rule, first.second_hand) == (256, "dit-paper", "")
    assert (second.conditions["cfg"], second.second_hand) == (1.5, "you")
    assert table.figure(first, 1) is None
    assert str(table.figure(second, 1).value) == "2.5"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('cells = ["0.36", ""]', 'cells = ["0.36"]'), "row A: it has 1 cells for 2 columns"),
        (('"fid"', '"fide"'), "no quantity is called 'fide'"),
        (("dit-s8", "dit-s9"), "names no model of dimbench: 'dit-s9'"),
        (("title", "titel"), "'titel' is unknown .*; it has no title"),
        (
            ('label = "B", cells', 'lable = "B", cell'),
            "'lable' is unknown .*; row : it has no label; row : it has no cells",
        ),
        (("rows = [", "rows = "), "is no TOML file"),
    ],
)
def test_a_broken_file_says_what_is_wrong(folder: Path, change: tuple[str, str], sentence: str) -> None:
    (folder / "mine-1.toml").write_text(MINE.replace(*change))
    with pytest.raises(DimbenchError, match=sentence):
        tables.all_tables()


def test_names_are_forgiven_and_near_ones_are_named() -> None:
    assert tables.find("DiT_4").name == "dit-4"
    with pytest.raises(UsageError, match="did you mean udit-2"):
        tables.find("udits-2")
