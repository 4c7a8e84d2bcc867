"""Where caches lie for a user whom the system does not know, as containers run with --user have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dimbench import paths, results
from dimbench.errors import DimbenchError
from tests.commands import processes
from tests.console import dimbench

# Python imports this first in every process, so that children meet the same.
NOBODY = """
import os, pwd
os.environ.pop("HOME", None)
def getpwuid(uid):
    raise KeyError(uid)
pwd.getpwuid = getpwuid
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("kernels", 0),
        ("weights where dit-xl2", 0),
        ("fid --model dit-digits --steps 2 --num-images 4", 0),
        ("bench dit-digits --budget 0.1", 0),
        ("sample dit-digits --weights hf:owner/name", 1),
    ],
)
def test_without_a_home_commands_run_and_say_where_the_caches_are(words: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOBODY)
    path = os.pathsep.join((str(tmp_path), str(processes.ROOT)))
    variables = {"PYTHONPATH": path, "DIMBENCH_CACHE": "", "TMPDIR": str(tmp_path)}
    ran = processes.start(tmp_path, *words.split(), **variables)
    _, said = ran.communicate(timeout=300)
    assert (ran.returncode, "Traceback" in said) == (code, False), said
    if code == 0:
        where = tmp_path / f"dimbench-{os.getuid()}"
        assert said.count(f"there is no home folder to write to; caches are in {where}") == 1
        assert where.is_dir()


def test_a_temporary_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIMBENCH_CACHE")
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    paths._temporary.cache_clear()
    (tmp_path / "dimbench-12345").mkdir()
    with pytest.raises(DimbenchError, match="belongs to another user; set DIMBENCH_CACHE"):
        paths.cache_folder()


def test_records_go_into_the_users_folder_where_there_is_no_results_folder_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DIMBENCH_RESULTS")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    theirs = tmp_path / "home" / ".local" / "share" / "dimbench" / "results" / "records.jsonl"
    first, again = (dimbench("params", "dit-s2") for _ in range(2))
    assert f"records go to {theirs};" in first.stderr
    assert "records go to" not in again.stderr
    assert len(results.read(theirs)) == 2
    assert not any((tmp_path / "here").iterdir())
    (tmp_path / "here" / "results").mkdir()
    dimbench("params", "dit-s2")
    assert len(results.read(Path("results/records.jsonl"))) == 1
