"""What a notebook shows of results."""

from __future__ import annotations

from pathlib import Path

import dimbench
from dimbench.report.notebook import Records
from dimbench.results import Record
from tests.report.records import bench, compare

SCRIPT = "<script>alert(1)</script>"


def shown(*records: dict) -> str:
    return Records(Record(**record) for record in records)._repr_html_()


def test_records_are_tables_with_their_doubts() -> None:
    doubtful = {**bench(), "warnings": ["The load was 9."]}
    text = shown(doubtful, compare("slower", 1.123, confirmed=True))
    assert text.count("<table>") == 2
    assert "<td>40 ms</td>" in text or "<td>40.00 ms</td>" in text
    assert "dit-xl2: The load was 9." in text
    assert "+12.3 %" in text
    assert shown() == "no records"


def test_what_a_record_holds_is_escaped() -> None:
    assert SCRIPT not in shown({**bench(SCRIPT), "warnings": [SCRIPT]})


def test_counts_and_choices_show_themselves() -> None:
    assert "<td>dit-s2</td>" in dimbench.count("dit-s2")._repr_html_()
    assert "<td>6.06 G</td>" in dimbench.choose(["dit-s2", "udit-s"])._repr_html_()


def test_a_plot_is_a_picture_to_show_and_to_save(tmp_path: Path) -> None:
    picture = dimbench.plot("params-macs", ["dit-s2", "udit-s"])
    assert "<svg" in picture._repr_svg_()
    picture.save(tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_text() == picture._repr_svg_()


def test_a_notebook_offers_the_public_names_and_no_others() -> None:
    assert {"choose", "count", "bench", "frontier", "results"} <= set(dir(dimbench))
    assert dir(dimbench) == sorted(dimbench.__all__)
