"""What the README and the pages say can be typed, and shows what they say it shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dimbench.counting.rules import RULES
from tests.console import dimbench

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SETUP = [line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines()]
PAGES = {page: page.read_text() for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
TOUR = [
    (match[1], match[2])
    for text in PAGES.values()
    for block in re.findall(r"```console\n(.*?)```", text, re.S)
    for match in re.finditer(r"^\$ dimbench (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)
]
# The files of one's own that it shows, by their names.
OWN = {match[1]: match[2] for match in re.finditer(r"```(?:python|toml)\n# (\S+)\n(.*?)```", README, re.S)}
# These figures depend on the machine: times everywhere, and the last digits of what is drawn.
MEASURED = ("sample", "fid", "bench")


def test_two_commands_set_everything_up() -> None:
    assert len(SETUP) == 2
    for line in SETUP:
        assert line.startswith("python3 -m venv .venv && .venv/bin/pip install")
    assert SETUP[1].endswith(".venv/bin/pytest")


@pytest.mark.parametrize("command", [c for line in SETUP for c in line.split(" && ") if "bin/dimbench" in c])
def test_commands_of_the_set_up_run(command: str) -> None:
    ran = dimbench(*shlex.split(command)[1:])
    assert ran.code == 0, ran.stderr
    assert "FLOPs (2 x MACs)" in ran.stdout or "FID" in ran.stdout


def beside_own_files(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command in a folder that holds the files of one's own, in a process that has read no others."""
    for name, text in OWN.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    place = {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "dimbench", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**os.environ, **place})


@pytest.mark.parametrize(("command", "shown"), TOUR, ids=[command for command, _ in TOUR])
def test_the_tour_shows_real_output(command: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(command)
    if words[0] == "fid":
        pytest.skip("run by the set-up command's test")
    if re.search("my_model|my-net|mine-1", command):
        finished = beside_own_files(tmp_path, *words)
        code, out, said = finished.returncode, finished.stdout, finished.stderr
    else:
        monkeypatch.chdir(tmp_path)
        ran = dimbench(*words)
        code, out, said = ran.code, ran.stdout, ran.stderr
    assert code == 0, said
    if words[0] not in MEASURED:
        printed = [line.rstrip() for line in out.splitlines()]
        wanted = {line.rstrip() for line in shown.splitlines() if line.strip() not in ("", "...")}
        assert wanted <= set(printed), out
    if words[0] == "bench":
        assert counted(shown), "the table has its counts"
        assert counted(shown) == counted(out)


def counted(table: str) -> list[tuple[str, ...]]:
    """Model, parameters and multiply-adds of each row of bench, which no machine changes."""
    return re.findall(r"^ (\S+) .*?  (\d[\d.]* M) +(\d[\d.]* G) ", table, re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pictures_and_pages_it_links_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        assert (page.parent / target).exists(), target


def test_the_rules_are_those_of_the_page() -> None:
    page = PAGES[ROOT / "docs" / "counting.md"]
    for rule in RULES.values():
        assert f"| `{rule.name}` | {rule.says}" in page
        assert f"| {rule.source} |" in page
