"""Where caches lie for a user whom the system does not know, as containers run with --user have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dimbench import paths
from dimbench.errors import DimbenchError
from tests.commands import processes

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
