"""A metric over commits, with its changes marked."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dimbench import results
from dimbench.errors import UsageError
from dimbench.report import over_time
from dimbench.report.findings import Findings, gather
from dimbench.results import Record
from tests.console import dimbench, refused
from tests.report.pages import Page
from tests.report.records import MACHINE, bench


def runs(model: str, *seconds: float) -> list[dict]:
    """One run of each commit."""
    return [
        bench(model, each, run=run, environment={**MACHINE, "commit": f"c{run:03}"}) for run, each in enumerate(seconds)
    ]


def slower(model: str = "dit-xl2") -> list[dict]:
    return runs(model, *[0.04] * 6, *[0.05] * 6)


def found(*records: dict) -> Findings:
    return gather(records)


def test_the_commit_of_a_change_is_named() -> None:
    text = over_time.markdown(found(*slower(), *runs("udit-s", *[0.01] * 12)), "commits")
    assert text.startswith("**Over 12 commits, 1 of 2 series came to another level.**")
    (row,) = [line for line in text.splitlines() if line.startswith("| dit-xl2")]
    assert "| c006 | +25.0 % | 40.00 ms | 50.00 ms |" in row


def test_what_is_counted_is_drawn_too_and_metrics_can_be_chosen() -> None:
    records = slower()
    for run, record in enumerate(records):
        record["metrics"] = {**record["metrics"], "macs": 1e9 * (1.1 if run >= 9 else 1), "peak_bytes": 7e8}
    drawn = {course.metric: course for course in over_time.courses(found(*records), "commits")}
    assert drawn.keys() == {"seconds", "macs"}
    (change,) = drawn["macs"].changes
    assert drawn["macs"].points[change[1].first].created == "c009"
    assert [c.metric for c in over_time.courses(found(*records), "commits", ["Peak-Bytes"])] == ["peak_bytes"]
    with pytest.raises(UsageError, match=r"unknown metric of these records 'second'; did you mean seconds"):
        over_time.courses(found(*records), "commits", ["second"])


def test_records_of_one_commit_leave_nothing_to_draw() -> None:
    assert "No series has a figure at two commits" in over_time.markdown(found(*runs("udit-s", 0.01)), "commits")


def test_figures_of_zero_and_below_are_drawn_too() -> None:
    records = runs("dit-xl2", *[0.04] * 12)
    for run, record in enumerate(records):
        record["metrics"] = {"kid_mean": (-0.5 if run < 6 else 0.4) + 0.01 * (run % 2), "params_dead": 7 * (run > 8)}
    kid, dead = over_time.courses(found(*records), "commits", ["kid_mean", "params_dead"])[::-1]
    assert [len(course.points) for course in (kid, dead)] == [12, 12]
    ((before, after),) = kid.changes
    assert (after.first, kid.change(before, after)) == (6, "+0.9")
    assert [dead.change(*each) for each in dead.changes] == ["+7"]
    assert over_time.page(found(*records), "commits", ["kid_mean"]).count('class="dot"') == 12


def test_what_is_not_drawn_is_said() -> None:
    unnamed = [bench("udit-s", 0.01, environment={**MACHINE, "commit": ""}) for _ in range(2)]
    records = [*slower(), *unnamed, bench("dit-s2", 0.01)]
    records[3] = bench("dit-xl2", None, run=3, environment={**MACHINE, "commit": "c003"})
    for text in (over_time.markdown(found(*records), "commits"), over_time.page(found(*records), "commits")):
        assert "Not measured at c003." in text
        assert "Not drawn: 2 series with a figure at fewer than two commits." in text
        assert "Left out: 2 of the records, which do not say of which of the commits they are." in text
    many = runs("dit-xl2", *[0.04] * 160)
    assert "dit-xl2, time: The latest 150 of 160 commits." in over_time.markdown(found(*many), "commits")


def test_a_commit_that_was_measured_again_is_one_point() -> None:
    again = [*slower(), *[{**record, "created": "2027-01-01T00:00:00+00:00"} for record in slower()[:3]]]
    (course,) = over_time.courses(found(*again), "commits")
    assert len(course.points) == 12
    assert course.points[0].count == 2


def test_versions_are_another_axis() -> None:
    records = [bench(run=run, environment={**MACHINE, "torch": f"2.{run}"}) for run in range(3)]
    (course,) = over_time.courses(found(*records), "versions")
    assert [point.created for point in course.points] == [f"dimbench 0.1.0, torch 2.{run}" for run in range(3)]


def test_the_page_marks_it() -> None:
    page = Page(over_time.page(found(*slower()), "commits"))
    assert page.texts["h2"] == ["Changes", "Over commits"]
    assert page.values("class").count("break") == 1
    assert "+25.0 % from c006" in page.texts["title"]
    assert page.references() == []


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    results.append([Record(**record) for record in slower()], file)
    assert "c006" in dimbench("report", file, "--over", "commits").stdout
    assert dimbench("report", file, "--over", "commits", "--to", tmp_path / "page.html").code == 0
    assert "c006" in (tmp_path / "page.html").read_text()
    assert "| time" in dimbench("report", file, "--over", "commits", "--metric", "seconds").stdout
    assert "give --over commits with it" in refused(2, "report", file, "--metric", "seconds")
    assert "markdown or html" in refused(2, "report", file, "--over", "commits", "--format", "junit")


def git(folder: Path, *words: object) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *who, *map(str, words)], cwd=folder, check=True, capture_output=True)


def test_records_of_a_branch_and_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "results")
    (tmp_path / "runs").mkdir()
    for place, half in (("runs/old.jsonl", slower()[:6]), ("runs/new.jsonl", slower()[6:])):
        results.append([Record(**record) for record in half], tmp_path / place)
    (tmp_path / "runs" / "notes.txt").write_text("no records")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "two runs")
    of_folder = dimbench("report", tmp_path / "runs", "--over", "commits").stdout
    assert "| c006 | +25.0 % |" in of_folder
    git(tmp_path, "checkout", "--quiet", "--orphan", "main")
    git(tmp_path, "rm", "--quiet", "-rf", ".")
    (tmp_path / "below").mkdir()
    for here in (tmp_path, tmp_path / "below"):
        monkeypatch.chdir(here)
        for place in ("results:runs", "results:"):
            assert dimbench("report", place, "--over", "commits").stdout == of_folder
    one = dimbench("report", "results:runs/old.jsonl", "--over", "commits").stdout
    assert one.startswith("**Over 6 commits, 0 of 1 series")
    assert "master is no commit" in refused(1, "report", "master:runs", "--over", "commits")
    assert "results holds no records in run" in refused(1, "report", "results:run")
    assert "no .jsonl file in" in refused(1, "report", tmp_path / "below")
