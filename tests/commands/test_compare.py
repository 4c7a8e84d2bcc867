"""compare and calibrate, as a user types them; bench is a fake with planted slowdowns, and nothing waits."""

from __future__ import annotations

import json
import platform
import random
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dimbench import paths, results
from dimbench.comparing import checkouts, noise
from dimbench.comparing.checkouts import Side
from dimbench.errors import DimbenchError, UsageError
from dimbench.results import Record
from tests.commands.processes import worktrees
from tests.comparing.rounds_of import entry
from tests.console import dimbench, refused

FILES = ("base.jsonl", "new.jsonl")


@dataclass
class FakeBench:
    """In the place of a fresh process: seconds with a spread, more where an option of the side is in `slow`; the model
    `loud` has a spread of 30 %."""

    slow: dict[str, float] = field(default_factory=dict)
    spread: float = 0.01
    loud: str = ""
    stop_after: int = 10**9
    calls: list[tuple[Side, str]] = field(default_factory=list)
    lot: random.Random = field(default_factory=lambda: random.Random(0))

    def __call__(self, side: Side, model: str, budget: float) -> list[dict[str, Any]]:
        if len(self.calls) == self.stop_after:
            raise KeyboardInterrupt
        self.calls.append((side, model))
        factor = next((factor for word, factor in self.slow.items() if word in side.options), 1.0)
        spread = 0.3 if model == self.loud else self.spread
        return [entry(len(self.calls), model=model, seconds=0.01 * factor * self.lot.lognormvariate(0, spread))]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeBench]:
    def install(**how: Any) -> FakeBench:
        made = FakeBench(**how)
        monkeypatch.setattr(checkouts, "bench", made)
        return made

    return install


def by_metric(stdout: str) -> dict[str, dict[str, Any]]:
    return {record["details"]["metric"]: record for record in json.loads(stdout)}


def test_a_planted_slowdown_is_found_confirmed_and_fails(fake: Callable[..., FakeBench]) -> None:
    bench = fake(slow={"slow": 1.2})
    ran = dimbench("compare", "dit-digits", "--a", "fast", "--b", "slow", "--json")
    assert ran.code == 3
    assert len(bench.calls) == 40  # ten rounds of both, twice
    found = by_metric(ran.stdout)
    details, measured = found["seconds"]["details"], found["seconds"]["metrics"]
    assert (details["verdict"], details["confirmed"]) == ("slower", True)
    assert measured["low"] < 1.2 < measured["high"]
    assert set(found["seconds"]["samples"]) == {"base", "new", "base_again", "new_again"}
    assert all(len(series) == 10 for series in found["seconds"]["samples"].values())
    assert {order[k : k + 4] for order in details["order"] for k in range(0, 20, 4)} == {"ABBA", "BAAB"}
    assert found["macs"]["details"]["verdict"] == "equal"
    shown, kept = json.loads(ran.stdout), results.read(paths.records_file())
    assert all(record.items() <= stored.items() for record, stored in zip(shown, kept, strict=True))


def test_the_same_code_is_the_same(fake: Callable[..., FakeBench]) -> None:
    bench = fake()
    ran = dimbench("compare", "dit-digits", "--a", "", "--seed", 7)
    assert ran.code == 0
    assert len(bench.calls) == 20
    assert "same" in ran.stdout
    assert "No regression of seconds was confirmed." in ran.stdout
    assert "dimbench calibrate" in ran.stdout


def test_a_slowdown_of_another_metric_than_the_gates_does_not_fail(fake: Callable[..., FakeBench]) -> None:
    fake(slow={"slow": 1.2})
    words = ("compare", "dit-digits", "--b", "slow", "--rounds", 3)
    assert dimbench(*words, "--fail-if", "macs").code == 0
    assert dimbench(*words, "--fail-if", "seconds:+40%").code == 0
    assert dimbench(*words, "--fail-if", "macs", "--fail-if", "seconds:+5%").code == 3


def test_only_what_is_unclear_gets_more_rounds(fake: Callable[..., FakeBench]) -> None:
    bench = fake(loud="dit-digits")
    ran = dimbench("compare", "dit-digits", "dit-s8", "--a", "", "--json")
    models = [model for _, model in bench.calls]
    assert models.count("dit-s8") == 20
    assert models.count("dit-digits") == 80
    assert ran.code == 0
    digits = json.loads(ran.stdout)[2]
    assert digits["details"]["verdict"] == "unclear"
    assert digits["details"]["rounds"] == 40
    fake(loud="dit-digits")
    assert dimbench("compare", "dit-digits", "--a", "", "--fail-on", "unclear").code == 3


def test_what_a_second_comparison_does_not_find_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    lot = random.Random(0)
    calls = []

    def slow_at_first(side: Side, model: str, budget: float) -> list[dict[str, Any]]:
        calls.append(side)
        factor = 1.3 if "slow" in side.options and len(calls) <= 20 else 1.0
        return [entry(seconds=factor * lot.lognormvariate(0, 0.01))]

    monkeypatch.setattr(checkouts, "bench", slow_at_first)
    ran = dimbench("compare", "dit-digits", "--b", "slow")
    assert ran.code == 0
    assert "unclear: first slower, then same when compared again (dit-digits seconds)." in ran.stdout


def test_an_interruption_keeps_the_finished_rounds(fake: Callable[..., FakeBench]) -> None:
    fake(stop_after=13)
    ran = dimbench("compare", "dit-digits", "--b", "slow")
    assert ran.code == 130
    assert "Stopped before its end" in ran.stdout
    (seconds,) = (r for r in results.read(paths.records_file()) if r["details"]["metric"] == "seconds")
    assert len(seconds["samples"]["base"]) == len(seconds["samples"]["new"]) == 6
    fake(stop_after=1)
    ran = dimbench("compare", "dit-digits", "--b", "slow", "--seed", 1)
    assert (ran.code, ran.stdout) == (130, "")


def test_an_error_keeps_the_finished_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def breaks(side: Side, model: str, budget: float) -> list[dict[str, Any]]:
        calls.append(side)
        if len(calls) > 7:
            raise DimbenchError("it broke")
        return [entry()]

    monkeypatch.setattr(checkouts, "bench", breaks)
    ran = dimbench("compare", "dit-digits", "--b", "slow")
    assert ran.code == 1
    assert "it broke" in ran.stderr
    assert [len(record["samples"]["base"]) for record in results.read(paths.records_file())] == [3, 3, 3]


def test_calibration_widens_the_margin_on_this_host_alone(fake: Callable[..., FakeBench]) -> None:
    fake(spread=0.15)
    ran = dimbench("calibrate", "--rounds", 40)
    assert ran.code == 0
    assert "half-width" in ran.stdout
    (record,) = results.read(paths.calibrations_file())
    assert record["conditions"]["host"] == platform.node()
    assert 0.1 < record["metrics"]["deviation"] < 0.4  # sqrt(2) x 0.15 is expected
    bench = fake(slow={"slow": 1.12})
    ran = dimbench("compare", "dit-digits", "--b", "slow", "--json")
    seconds = by_metric(ran.stdout)["seconds"]
    assert len(bench.calls) == 80
    assert (ran.code, seconds["details"]["verdict"]) == (0, "unclear")
    assert seconds["metrics"]["margin"] > 0.1
    paths.calibrations_file().write_text(json.dumps(record | {"conditions": {**record["conditions"], "host": "other"}}))
    assert dimbench("compare", "dit-digits", "--b", "slow").code == 3


def test_damaged_calibrations_are_left_out_and_said(fake: Callable[..., FakeBench]) -> None:
    fake()
    dimbench("calibrate", "--rounds", 4)
    whole = paths.calibrations_file().read_text()
    (record,) = results.read(paths.calibrations_file())
    damaged = ("[[", "{}", "\ufffd", *(json.dumps(record | {"metrics": {"deviation": bad}}) for bad in (0, None, "a")))
    paths.calibrations_file().write_text("\n".join(damaged) + "\n" + whole)
    ran = dimbench("compare", "dit-digits", "--b", "slow", "--json")
    assert ran.code == 0
    assert f"{len(damaged)} lines are no calibrations and were left out" in ran.stderr
    assert noise.known() == {record["conditions"]["device_name"]: noise.Noise(record["metrics"]["deviation"])}


def test_calibrate_needs_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkouts, "bench", lambda side, model, budget: [entry(seconds=None)])
    assert "measured no time of dit-digits" in refused(1, "calibrate")
    assert not paths.calibrations_file().exists()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A checkout whose first commit cannot be imported."""
    root = tmp_path / "checkout"
    (root / "dimbench").mkdir(parents=True)
    (root / "dimbench" / "__init__.py").touch()
    (root / "dimbench" / "__main__.py").write_text("import a_module_that_is_not_there\n")

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", root, "-c", "user.name=T", "-c", "user.email=t@t", *words], check=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "broken")
    git("tag", "broken")
    return root


def test_a_commit_against_a_checkout(repository: Path, fake: Callable[..., FakeBench]) -> None:
    bench = fake()
    ran = dimbench(
        "compare", "--run", "broken", "--new", repository, "dit-digits", "--bench", "--batch 8", "--rounds", 3
    )
    assert ran.code == 0
    assert "BASE is broken (" in ran.stdout
    sides = {side.root: side.options for side, _ in bench.calls}
    assert list(sides.values()) == [("--batch", "8")] * 2
    assert repository in sides
    assert all(root == repository or not root.exists() for root in sides)
    assert worktrees(repository) == 1


def test_a_commit_that_does_not_run(repository: Path) -> None:
    said = refused(1, "compare", "--run", "broken", "--new", repository, "dit-digits")
    assert "broken (" in said or "the checkout" in said
    assert "ModuleNotFoundError: No module named 'a_module_that_is_not_there'" in said
    assert worktrees(repository) == 1


def test_an_interruption_removes_the_worktree(repository: Path, fake: Callable[..., FakeBench]) -> None:
    bench = fake(stop_after=5)
    assert dimbench("compare", "--run", "broken", "--new", repository, "dit-digits").code == 130
    assert worktrees(repository) == 1
    assert [side.root for side, _ in bench.calls if side.root.exists()] != []
    assert all(side.root == repository or not side.root.exists() for side, _ in bench.calls)


def test_a_worktree_in_use_is_left_and_one_of_a_dead_process_removed(repository: Path) -> None:
    with checkouts.worktree(repository, "broken") as (first, _):
        with checkouts.worktree(repository, "broken"):
            assert worktrees(repository) == 3
        others = repository.parent / "base"
        subprocess.run(["git", "-C", repository, "worktree", "add", "-q", "--detach", others], check=True)
        (first.parent / ".lock").unlink()
        (first.parent / ".lock").touch()  # that nobody holds
        with checkouts.worktree(repository, "broken"):
            assert not first.parent.exists()
            assert others.exists()
            first.parent.mkdir()


def test_commits_and_folders_that_are_not_there(repository: Path, tmp_path: Path) -> None:
    said = refused(2, "compare", "--run", "nowhere", "--new", repository, "dit-digits")
    assert f"nowhere is no commit of the repository at {repository}" in said
    assert "no checkout of dimbench" in refused(2, "compare", "--run", "broken", "--new", tmp_path, "dit-digits")
    assert "is no folder" in refused(2, "compare", "--run", "broken", "--new", tmp_path / "none", "dit-digits")


def test_bench_errors_lose_the_frame_round_them(tmp_path: Path) -> None:
    """Typer draws its usage errors in a box; the sentence in it is what counts."""
    side = Side("old", checkouts.here(), ("--an-option-that-is-not-there",))
    with pytest.raises(UsageError, match=r"old cannot run `dimbench bench .*: No such (option|command)"):
        checkouts.bench(side, "dit-digits", 1)


def test_a_side_that_is_given_wrongly_is_a_usage_error() -> None:
    words = ("compare", "dit-digits", "--bench", "--steps 4", "--a", "--with deep")
    assert "deep cannot wrap DiT" in refused(2, *words)


def test_an_interruption_ends_the_process_that_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []

    def interrupted(process: subprocess.Popen[str]) -> None:
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkouts.bench(Side("now", checkouts.here()), "dit-digits", 1)
    assert started[0].returncode == -signal.SIGKILL


def store(folder: Path, base: list[dict[str, Any]], new: list[dict[str, Any]]) -> tuple[Path, Path]:
    files = folder / FILES[0], folder / FILES[1]
    for file, entries in zip(files, (base, new), strict=True):
        results.append([Record(**e | {"warnings": ()}) for e in entries], file)
    return files


def test_files_gate_on_what_is_exact(tmp_path: Path) -> None:
    files = store(tmp_path, [entry(macs=1000)], [entry(macs=1100, seconds=0.03)])
    ran = dimbench("compare", *files, "--fail-if", "macs", "--json")
    assert ran.code == 3
    found = by_metric(ran.stdout)
    assert found["macs"]["details"]["verdict"] == "changed"
    assert found["macs"]["metrics"]["ratio"] == pytest.approx(1.1)
    assert found["params"]["details"]["verdict"] == "equal"
    assert found["seconds"]["details"]["verdict"] == "unclear"
    assert found["seconds"]["metrics"]["ratio"] == pytest.approx(3)
    assert dimbench("compare", *files).code == 0
    assert dimbench("compare", *files, "--fail-on", "unclear").code == 3


@pytest.mark.parametrize(("macs", "code"), [(1000, 2), (1001, 3)])
def test_the_exit_code_is_the_one_the_text_says(tmp_path: Path, macs: int, code: int) -> None:
    files = store(tmp_path, [entry()], [entry(macs=macs)])
    ran = dimbench("compare", *files, "--fail-if", "macs", "--fail-if", "fid:+0.05")
    assert ran.code == code
    assert ("Exit code 3" in ran.stdout) is (code == 3)
    assert "--fail-if fid:+0.05 looks at nothing" in ran.stdout


def test_a_count_that_is_no_number_fails(tmp_path: Path) -> None:
    files = store(tmp_path, [entry()], [entry(macs=float("nan"))])
    ran = dimbench("compare", *files, "--fail-if", "macs")
    assert ran.code == 3
    assert "NEW has no figure" in ran.stdout


def test_a_speed_up_is_confirmed_as_a_slowdown_is(fake: Callable[..., FakeBench]) -> None:
    bench = fake(slow={"fast": 1 / 1.2})
    ran = dimbench("compare", "dit-digits", "--b", "fast", "--json")
    details = by_metric(ran.stdout)["seconds"]["details"]
    assert (ran.code, details["verdict"], details["confirmed"]) == (0, "faster", True)
    assert len(bench.calls) == 40


def test_a_gate_that_looks_at_nothing_is_refused(tmp_path: Path) -> None:
    files = store(tmp_path, [entry()], [entry()])
    ran = dimbench("compare", *files, "--fail-if", "macs", "--fail-if", "fid:+0.05")
    assert ran.code == 2
    assert "--fail-if fid:+0.05 looks at nothing" in ran.stderr


def test_fid_fails_by_its_difference(tmp_path: Path) -> None:
    files = store(tmp_path, [entry(command="fid", fid=2.0)], [entry(command="fid", fid=2.1)])
    assert dimbench("compare", *files, "--fail-if", "fid:+0.05").code == 3
    assert dimbench("compare", *files, "--fail-if", "fid:+0.2").code == 0


def test_a_cut_file_is_read_up_to_there(tmp_path: Path) -> None:
    base, new = store(tmp_path, [entry(), entry(batch=8)], [entry(), entry(batch=8)])
    new.write_bytes(new.read_bytes()[:-20])
    ran = dimbench("compare", base, new)
    assert ran.code == 0
    assert "last line is cut off" in ran.stderr
    assert "bench dit-digits left out: batch is 8 in BASE and 1 in NEW" in ran.stdout


def test_another_machines_baseline(tmp_path: Path) -> None:
    files = store(tmp_path, [entry(processor="another", device_name="another")], [entry()])
    ran = dimbench("compare", *files)
    assert ran.code == 0
    assert "Equal: 2 of 3 rows (macs of 1, params of 1)." in ran.stdout
    assert "unclear: other machine: another, 2 cpus" in ran.stdout


def test_what_is_no_comparison(tmp_path: Path) -> None:
    base, new = store(tmp_path, [entry()], [entry(batch=8)])
    assert "batch is 1 in BASE and 8 in NEW" in refused(2, "compare", base, new)
    assert "cannot read records" in refused(1, "compare", base, tmp_path / "none.jsonl")
    assert "give two record files" in refused(2, "compare", base)
    assert "give two record files" in refused(2, "compare", base, new, "--bench", "--batch 8")
    assert "without --run" in refused(2, "compare", "dit-digits", "--a", "", "--new", tmp_path)
    assert "did you mean seconds?" in refused(2, "compare", base, new, "--fail-if", "second:+5%")
    assert "dit-digit" in refused(2, "compare", "dit-nothing", "--a", "--kernel cpu")
