from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dimbench import results
from dimbench.commands import report
from dimbench.commands.report import ReportFormat
from dimbench.results import Record
from tests.console import dimbench, refused
from tests.report.pages import Page
from tests.report.records import bench, compare


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A comparison and a measurement."""
    return write(tmp_path / "records.jsonl", compare("slower", 1.123, confirmed=True), bench())


def write(file: Path, *records: dict) -> Path:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


CSV = ["model", "dit-xl2"]  # of a table


def test_every_format_goes_to_stdout_and_to_a_file(file: Path, tmp_path: Path) -> None:
    checks = {
        ReportFormat.MARKDOWN: lambda text: text.startswith("**1 regression confirmed.**"),
        ReportFormat.HTML: lambda text: Page(text).texts["h1"] == ["dimbench report"],
        ReportFormat.RICH: lambda text: "+12.3 %" in text and "images/s" in text,
        ReportFormat.CSV: lambda text: [line.split(",")[0] for line in text.splitlines()] == [*CSV, "", *CSV],
        ReportFormat.LATEX: lambda text: text.count(r"\toprule") == 2,
        ReportFormat.JSON: lambda text: [each["command"] for each in json.loads(text)] == ["compare", "bench"],
        ReportFormat.JUNIT: lambda text: ElementTree.fromstring(text).get("failures") == "1",
        ReportFormat.GITHUB_BENCHMARK: lambda text: len(json.loads(text)) == 2,
        ReportFormat.BENCHER: lambda text: len(json.loads(text)) == 1,
    }
    assert list(checks) == list(ReportFormat)
    for form, check in checks.items():
        shown = dimbench("report", file, "--format", form)
        assert (shown.code, shown.stderr) == (0, "")
        assert check(shown.stdout), form
        out = tmp_path / "new" / form
        assert dimbench("report", file, "--format", form, "--out", out).stdout == ""
        assert out.read_text() == shown.stdout


def test_a_table_for_a_paper_has_the_best_in_bold_and_what_is_doubtful_below(tmp_path: Path) -> None:
    doubted = {**bench("udit-s", 0.01), "warnings": ["The load was 9 of 2."]}
    file = write(tmp_path / "r.jsonl", bench("dit-xl2", 0.02), doubted, bench("dit-s2", 0.0101))
    assert dimbench("report", file, "--to", tmp_path / "t.tex").code == 0
    text = (tmp_path / "t.tex").read_text()
    bold = [part.split("}")[0] for part in text.split(r"\textbf{")[1:]]
    assert [part[:8] for part in bold if "±" in part] == ["10.00 ms", "10.10 ms"], "chance may tell them apart"
    assert [part for part in bold if "±" not in part] == ["2.70 GB"] * 3, "rates have no interval of their own"
    assert "20.00 ms ±" in text
    assert "udit-s: The load was 9 of 2." in text


def test_csv_is_for_programs(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    results.append([Record(**bench("dit-s2", 0.01)), Record(**bench("udit-s", None))], file)
    heading, timed, lost = dimbench("report", file, "--format", "csv").stdout.splitlines()
    assert heading.startswith("model,time (s),")
    assert ",2700000000" in timed
    assert [float(cell) for cell in timed.split(",")[1:]]
    assert set(lost.split(",")) == {"udit-s", ""}


def test_costs_of_training_are_said_in_words(tmp_path: Path) -> None:
    where = {"resolution": 256, "iterations": 7000, "ceiling": 156e12, "mfu": 0.4}
    metrics = {"forward_macs": 6e9, "step_macs_none": 18e9, "gpu_days_none": 0.345}
    file = tmp_path / "records.jsonl"
    results.append(
        [Record("cost", "dit-s2", where, metrics), Record("cost", "mine", where, {"forward_macs": 1e9})], file
    )
    text = dimbench("report", file).stdout
    assert "| model | MACs of a forward pass | MACs of a step, all kept | GPU-days, all kept |" in text
    assert "| mine | 1.00 G | not counted | not counted |" in text
    assert "ceiling 156.00 T MACs/s, mfu 0.4" in text
    claims = [
        Record("cost", "dit-xl2", {"resolution": 256}, {"claimed_days": 950, "needs_v100-fp32": 0.9897}),
        Record("cost", "dit-xl2", {"resolution": 256, "steps": 50}, {"executed_share": 0.26, "printed_share": 0.28}),
        Record("cost", "dit-s2", {"resolution": 256, "steps": 50}, {"executed_share": 0.3, "printed_share": None}),
    ]
    results.append(claims, file)
    text = dimbench("report", file).stdout
    assert "| model | GPU-days as printed | needed of the ceiling of v100-fp32 |" in text
    assert "| dit-xl2 | 950 | 99.0 % |" in text
    assert "| dit-xl2 | 26.0 % | 28.0 % |" in text
    assert "| dit-s2 | 30.0 % | not printed |" in text
    assert "not measured" not in text


def test_only_the_better_figure_is_bold_and_fid_says_its_images(tmp_path: Path) -> None:
    def row(methods: list[str], **metrics: float) -> dict:
        conditions = {"num_images": 64, "methods": methods}
        return {**bench(), "command": "frontier", "conditions": conditions, "metrics": metrics, "samples": {}} | {
            "warnings": ["Few images."]
        }

    plain = row([], share_of_plain=1.0, drift=0.0, fid=10.7, is_std=0.65, recall=0.3)
    saved = row(["fora:every=2"], share_of_plain=0.52, drift=6.2, fid=89.8, is_std=0.38, recall=0.5)
    file = write(tmp_path / "r.jsonl", plain, saved)
    text = dimbench("report", file, "--format", "latex").stdout
    assert "& FID-64 &" in text
    bold = [part.split("}")[0] for part in text.split(r"\textbf{")[1:]]
    assert bold == ["0", "10.7", "0.52", "0.5"], "no deviation is the better one"
    assert "dit-xl2, dit-xl2 (methods fora:every=2): Few images." in text


def test_files_of_real_records_are_read_together(tmp_path: Path) -> None:
    counts = tmp_path / "counts.jsonl"
    assert dimbench("flops", "dit-s2", "--out", counts).code == 0
    shown = dimbench("report", Path(__file__).parents[2] / "results" / "digits.jsonl", counts)
    for row in ("| dit-s2 | 6.06 G | 12.11 G | 32.87 M |", "| sit-digits |"):
        assert row in shown.stdout


def test_markdown_is_appended_to_the_summary_of_a_step(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("# Before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    shown = dimbench("report", file)
    dimbench("report", file, "--format", "junit")
    assert summary.read_text() == "# Before\n" + shown.stdout
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    ran = dimbench("report", file)
    assert ran.code == 1
    assert "GITHUB_STEP_SUMMARY" in ran.stderr


def test_a_summary_stays_below_what_github_shows(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("x" * (report.MOST_BYTES - 400))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert len(dimbench("report", file).stdout) > 400
    assert summary.stat().st_size <= report.MOST_BYTES
    assert "Cut here" in summary.read_text()


def test_a_cut_line_is_left_out_and_said(file: Path) -> None:
    file.write_text(file.read_text()[:-20])
    ran = dimbench("report", file)
    assert ran.code == 0
    assert "regression confirmed" in ran.stdout
    assert "Measured" not in ran.stdout
    assert "the last line is cut off and was left out" in ran.stderr


def test_an_empty_file_beside_others_is_named(file: Path, tmp_path: Path) -> None:
    ran = dimbench("report", file, write(tmp_path / "empty.jsonl"))
    assert ran.code == 0
    assert ran.stderr == f"{tmp_path / 'empty.jsonl'}: no records\n"


def test_what_cannot_be_reported(file: Path, tmp_path: Path) -> None:
    assert "no records in" in refused(1, "report", write(tmp_path / "empty.jsonl"))
    assert "cannot read records" in refused(1, "report", tmp_path / "absent.jsonl")
    assert "update dimbench" in refused(1, "report", write(tmp_path / "newer", {**bench(), "schema": 2}))
    assert "is no record" in refused(1, "report", write(tmp_path / "other", {"a": 1}))
    assert "bencher" in refused(2, "report", file, "--format", "pdf")
    assert "only comparisons" in refused(2, "report", write(tmp_path / "c", compare()), "--format", "bencher")
    assert "with --to" in refused(1, "report", file, "--to", file / "below")
    assert "with --to" in refused(1, "report", file, "--to", tmp_path)


def test_records_are_not_overwritten(file: Path, tmp_path: Path) -> None:
    copy = write(tmp_path / "copy", *results.read(file))
    for out in (file, tmp_path / "new.jsonl"):
        assert "names records" in refused(2, "report", file, "--to", out)
    assert "names records" in refused(2, "report", copy, "--to", copy)
    assert results.read(file) == results.read(copy)


def test_an_ending_of_no_format_is_refused(file: Path, tmp_path: Path) -> None:
    assert "ends in none of .md" in refused(2, "report", file, "--to", tmp_path / "a.pdf")
    assert dimbench("report", file, "--format", "csv", "--to", tmp_path / "a.txt").code == 0
