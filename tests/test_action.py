"""The action for other repositories, its steps run one after another as a runner would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dimbench import results

ROOT = Path(__file__).parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
NETWORK = """from torch import nn


class MyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Conv2d(4, 4, {size}, padding={size} // 2)

    def forward(self, x, t, y):
        return self.layers(x)
"""


def git(folder: Path, *words: str) -> str:
    author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *author, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Of somebody else, with one commit."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "net.py").write_text(NETWORK.format(size=3))
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "a network")
    return folder


def ran(folder: Path, **given: str) -> tuple[dict[str, int], Path]:
    """The exit codes of the steps by name, in a runner whose `gh` writes down what it is told, and their folder."""
    work = folder.parent
    tools = work / "tools"
    tools.mkdir()
    for name, does in {"gh": 'echo "$@" > "$RUNNER_TEMP/said"', "python": f'exec {sys.executable} "$@"'}.items():
        (tools / name).write_text(f"#!/bin/sh\n{does}\n")
        (tools / name).chmod(0o755)
    inputs = {name: str(each.get("default", "")) for name, each in ACTION["inputs"].items()} | given
    known = {f"inputs.{name}": value for name, value in inputs.items()}
    known |= {"github.token": "none", "github.event.pull_request.number": "7"}
    here = {
        "RUNNER_TEMP": str(work), "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "DIMBENCH_RESULTS": str(work / "records"), "GITHUB_STEP_SUMMARY": str(work / "summary.md"),
    }  # fmt: skip
    codes: dict[str, int] = {}
    for step in ACTION["runs"]["steps"][1:]:  # installed it is
        if any(codes.values()) and "cancelled" not in step.get("if", ""):
            continue
        told = {name: _filled(text, known) for name, text in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", step["run"]], cwd=folder, env={**os.environ, **here, **told}
        )
        codes[step["name"]] = done.returncode
    return codes, work


def _filled(text: Any, known: dict[str, str]) -> str:
    return re.sub(r"\$\{\{ (.+?) \}\}", lambda found: known[found[1]], str(text))


def test_a_change_of_cost_fails_and_is_told(repository: Path) -> None:
    base = git(repository, "rev-parse", "HEAD")
    (repository / "net.py").write_text(NETWORK.format(size=5))
    git(repository, "commit", "--quiet", "-am", "a wider kernel")
    codes, work = ran(repository, models="net.py:MyNet dit-s2", base=base)
    assert codes == {"Measure": 0, "Compare": 3, "Report": 0}
    report = (work / "dimbench" / "report.md").read_text()
    assert "net.py:MyNet" in report
    assert "changed" in report
    assert report in (work / "summary.md").read_text()
    assert (work / "said").read_text().startswith("pr comment 7 --body-file")
    assert git(repository, "worktree", "list").count("\n") == 0


@pytest.mark.slow
def test_what_costs_the_same_passes_also_in_time(repository: Path) -> None:
    base = git(repository, "rev-parse", "HEAD")
    codes, work = ran(repository, models="net.py:MyNet", base=base, rounds="2", bench="--budget 0.2")
    assert codes == {"Measure": 0, "Compare": 0, "Report": 0}
    assert sum(record["command"] == "bench" for record in results.read(work / "dimbench" / "head.jsonl")) == 2


def test_what_is_new_has_no_base(repository: Path) -> None:
    base = git(repository, "rev-parse", "HEAD")
    (repository / "more.py").write_text(NETWORK.format(size=5))
    codes, work = ran(repository, models="net.py:MyNet more.py:MyNet", base=base)
    assert codes["Measure"] == 0
    assert [record["model"] for record in results.read(work / "dimbench" / "base.jsonl")] == ["net.py:MyNet"]
    assert codes["Compare"] == 0


def test_where_all_is_new_there_is_a_report(repository: Path) -> None:
    base = git(repository, "rev-parse", "HEAD")
    (repository / "more.py").write_text(NETWORK.format(size=5))
    codes, work = ran(repository, models="more.py:MyNet", base=base, rounds="1", bench="--budget 0.1")
    assert codes == {"Measure": 0, "Compare": 0, "Report": 0}
    assert "more.py:MyNet" in (work / "dimbench" / "report.md").read_text()
