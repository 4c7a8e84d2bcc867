from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dimbench import results, units
from dimbench.errors import DimbenchError, UsageError
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


@pytest.mark.parametrize("text", ["import torch\n", "[\n  {}\n]\n", '{\n  "layers": 2\n}\n', "\x00\x01"])
def test_records_are_appended_to_nothing_else(text: str, tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(text)
    with pytest.raises(UsageError, match="is left as it is; give another file with --out"):
        results.append([record(macs=1.0)], file)
    assert file.read_text() == text


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", '{ "of": "another tool" }\n'])
def test_a_file_without_a_line_takes_records(text: str, tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_text(text)
    results.append([record(macs=1.0)], file)
    results.append([record(macs=2.0)], file)
    found = [entry["metrics"]["macs"] for entry in results.sound(file)[0]]
    assert found == [1.0, 2.0]


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
        ({"schema": True}, "line 2 is no record"),
        ({"schema": 0}, "line 2 is no record"),
        ({"metrics": [1.0]}, "line 2 has no metrics"),
        ({"metrics": {"macs": "many"}}, "line 2 has 'many' for macs"),
        ({"metrics": {"macs": True}}, "line 2 has True for macs"),
        ({"model": ["dit"]}, "line 2 has no model"),
        ({"created": "yesterday"}, "line 2 has no time"),
        ({"conditions": {"num_images": "many"}}, "line 2 has no number for num_images"),
        ({"warnings": [1]}, "line 2 has no time or no warnings"),
        ({"warnings": "hot"}, "line 2 has no warnings"),
        ({"conditions": {"batch": [[[[[[[[1]]]]]]]]}}, "line 2 has no conditions that can be read"),
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


def line(**changes: object) -> str:
    return json.dumps({**record(macs=1.0).as_dict(), **changes}, ensure_ascii=False)


def test_line_separators_within_a_text_end_no_line(tmp_path: Path) -> None:
    said = "one\u2028two\u2029three\x85four"
    (tmp_path / "a.jsonl").write_text(line(warnings=[said]) + "\r\n" + line() + "\n", encoding="utf-8", newline="")
    first, second = results.read(tmp_path / "a.jsonl")
    assert (first["warnings"], second["warnings"]) == ([said], [])


def test_a_signature_and_an_array_are_read(tmp_path: Path) -> None:
    expected = [json.loads(line()), json.loads(line(model="udit-l"))]
    (tmp_path / "a.jsonl").write_text("\ufeff" + "\n".join(map(json.dumps, expected)), encoding="utf-8")
    assert results.read(tmp_path / "a.jsonl") == expected
    (tmp_path / "a.json").write_text(json.dumps(expected, indent=2), encoding="utf-8-sig")
    assert results.read(tmp_path / "a.json") == expected
    (tmp_path / "a.json").write_text(json.dumps(expected)[:-1])
    with pytest.raises(DimbenchError, match="its JSON array is cut off"):
        results.read(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(DimbenchError, match="entry 1 is no record"):
        results.read(tmp_path / "a.json")


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 100_000 + "]" * 100_000])
def test_what_python_will_not_parse_is_one_sentence(value: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(line(details={"x": "HERE"}).replace('"HERE"', value))
    with pytest.raises(DimbenchError, match="line 1 is nested too deeply or has a number of too many digits"):
        results.read(tmp_path / "a.jsonl")


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e308", "1e999", "-1", "1" + "0" * 400])
def test_a_metric_that_is_no_number_counts_as_not_measured(value: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(line(metrics={"macs": "HERE", "params": 3}).replace('"HERE"', value))
    (found,) = results.read(tmp_path / "a.jsonl")
    assert found["metrics"] == {"macs": None, "params": 3}
    assert found["warnings"] == ["macs is no number that can be, and counts as not measured."]


@pytest.mark.parametrize(
    "series", ["many", [1.0, "2"], [1.0, None], [1.0, float("nan")], [1e308, 1e308], [1.0, -1.0], {"a": 1}]
)
def test_samples_that_are_no_numbers_are_left_out(series: object, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(line(samples={"seconds": series, "joules": [1, 2.5]}))
    (found,) = results.read(tmp_path / "a.jsonl")
    assert found["samples"] == {"joules": [1, 2.5]}
    assert found["warnings"] == ["The samples of seconds are not all numbers and were left out."]


def test_a_frame_loses_nothing_and_changes_no_value(tmp_path: Path) -> None:
    first = Record(
        "compare",
        "dit-xl2",
        {"batch": 1, "rounds": "all", "weights": "12345678901234e5"},
        {"macs": 2**60 + 1, "rounds": 3},
        ("hot",),
        details={"metric": "seconds", "verdict": "slower", "protocol": "1e5", "rows": [1]},
        environment={"torch": "2.14", "batch": 7},
    )
    results.append([first, record(fid=2.0)], tmp_path / "a.jsonl")
    frame = results.frame(tmp_path / "a.jsonl")
    row = frame.iloc[0]
    assert (row["metric"], row["verdict"], row["protocol"], row["torch"]) == ("seconds", "slower", "1e5", "2.14")
    assert (row["rounds"], row["metrics.rounds"], row["batch"], row["environment.batch"]) == ("all", 3, 1, 7)
    assert (row["weights"], row["macs"], row["warnings"]) == ("12345678901234e5", 2**60 + 1, ["hot"])
    assert "rows" not in frame
    assert {name: str(frame[name].dtype) for name in ("macs", "fid", "batch")} == {
        "macs": "Int64", "fid": "float64", "batch": "Int64",
    }  # fmt: skip
    assert len(frame.columns) == len(set(frame.columns))


def test_the_line_of_the_readme_works_in_a_fresh_interpreter(tmp_path: Path) -> None:
    results.append([record(macs=1.0)], tmp_path / "a.jsonl")
    words = f"import dimbench; print(dimbench.results.frame({str(tmp_path / 'a.jsonl')!r})['macs'].tolist())"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    assert done.stdout == "[1.0]\n", done.stderr


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


def test_two_changes_of_one_commit_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "dimbench" / "results.py"
    module.parent.mkdir()
    module.write_text("a = 1\n")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path))
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(results, "__file__", str(module))
    said = []
    for text in ("a = 1\n", "a = 2\n", "a = 3\n", "a = 2\n"):
        module.write_text(text)
        results.code.cache_clear()
        said.append(results._commit() or "")
    results.code.cache_clear()
    clean, second, third, again = said
    assert clean == second.partition("+")[0] == third.partition("+")[0]
    assert again == second != third
