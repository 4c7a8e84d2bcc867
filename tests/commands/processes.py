"""Commands in processes of their own, to be interrupted, killed or started several at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def start(
    folder: Path, *words: object, python: tuple[str, ...] = ("-m", "dimbench"), **variables: str
) -> subprocess.Popen[str]:
    """`dimbench WORDS` in `folder`, or what else `python` names, with these environment variables."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DIMBENCH_RESULTS": str(folder),
        "DIMBENCH_CACHE": str(folder),
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    command = [sys.executable, *python, *map(str, words)]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for(condition: object, process: subprocess.Popen[str], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finish(process: subprocess.Popen[str]) -> str:
    """What the process printed, once it has ended well."""
    printed, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return printed


def worktrees(repository: Path) -> int:
    """How many git knows, the repository itself among them."""
    listed = subprocess.run(["git", "-C", repository, "worktree", "list"], capture_output=True, text=True, check=True)
    return len(listed.stdout.splitlines())
