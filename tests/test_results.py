from __future__ import annotations

import json
from pathlib import Path

import pytest

from dimbench import results, units
from dimbench.errors import DimbenchError
from dimbench.results import Record


def record(**metrics: float) -> Record:
    return Record("flops", "dit-xl2", {"resolution": 256}, metrics)


def test_records_are_appended_and_read_back(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "records.jsonl"
    results.append([record(macs=1.0)], file)
    results.append([record(macs=2.0), record(macs=3.0)], file)
    assert [entry["metrics"]["macs"] for entry in results.read(file)] == [1.0, 2.0, 3.0]
    frame = results.frame(file)
    assert frame["macs"].tolist() == [1.0, 2.0, 3.0]
    assert frame["resolution"].tolist() == [256, 256, 256]
    assert frame["model"].unique().tolist() == ["dit-xl2"]


def test_keys_of_a_record() -> None:
    keys = {"schema", "command", "model", "conditions", "environment", "metrics", "warnings", "created"}
    assert set(record(macs=1.0).as_dict()) == keys
    assert record(macs=1.0).as_dict()["environment"]["torch"]


def test_a_cut_last_line_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "records.jsonl"
    results.append([record(macs=1.0), record(macs=2.0)], file)
    file.write_bytes(file.read_bytes()[:-20])
    assert [entry["metrics"]["macs"] for entry in results.read(file)] == [1.0]
    assert "last line is cut off" in capsys.readouterr().err


def test_a_new_record_survives_a_cut_line_before_it(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    results.append([record(macs=1.0), record(macs=2.0)], file)
    file.write_bytes(file.read_bytes()[:-20])
    results.append([record(macs=3.0)], file)
    assert [entry["metrics"]["macs"] for entry in results.read(file)] == [1.0, 3.0]


def test_what_is_no_record_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("not JSON\n" + json.dumps({}) + "\n")
    with pytest.raises(DimbenchError, match="line 1 is not JSON"):
        results.read(tmp_path / "a.jsonl")
    with pytest.raises(DimbenchError, match="cannot read records"):
        results.read(tmp_path / "absent.jsonl")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": results.SCHEMA + 1}, "line 2 has schema 2 and this dimbench reads up to 1; update dimbench"),
        ({"schema": None}, "line 2 is no record"),
        ({"metrics": [1.0]}, "line 2 has no metrics"),
        ({"metrics": {"macs": "many"}}, "line 2 has 'many' for macs"),
    ],
)
def test_lines_that_are_json_but_no_record(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    file = tmp_path / "records.jsonl"
    results.append([record(macs=1.0)], file)
    with file.open("a") as lines:
        lines.write(json.dumps({**record(macs=2.0).as_dict(), **changes}))
    with pytest.raises(DimbenchError, match=said):
        results.read(file)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DimbenchError, match="not text"):
        results.read(tmp_path / "image.png")


def test_a_line_cut_in_its_first_word_and_empty_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "records.jsonl"
    results.append([record(macs=1.0)], file)
    with file.open("a") as lines:
        lines.write('\n\n{"sch')
    assert [entry["metrics"]["macs"] for entry in results.read(file)] == [1.0]
    assert "the last line is cut off" in capsys.readouterr().err


def test_unwritable_places_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DimbenchError, match="--out"):
        results.append([record()], tmp_path / "file" / "records.jsonl")


def test_units() -> None:
    assert units.exact(96598228992) == "96,598,228,992"
    assert units.short(96598228992) == "96.60 G"
    assert units.short(999) == "999"
    assert units.short(1_000_000) == "1.00 M"
    assert units.giga(84492056576) == "84.49 G"
    assert units.share(1, 8) == "12.5 %"
    assert [units.seconds(s) for s in (12.345678, 0.0370125, 9.876543e-5, 1.5e-8)] == [
        "12.35 s", "37.01 ms", "98.77 µs", "15.00 ns",
    ]  # fmt: skip
    assert [units.change(ratio) for ratio in (1.1234, 0.9, 0.9999)] == ["+12.3 %", "-10.0 %", "+0.0 %"]
