"""Checkouts of this project, and running `dimbench bench` from one in a fresh process."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimbench import preset_files, results
from dimbench.errors import DimbenchError, UsageError

_PREFIX, _PLACE, _LOCK = "dimbench-", "base", ".lock"  # of a worktree's folder, in it the checkout and who holds it


@dataclass(frozen=True)
class Side:
    """What is measured: the code under `root`, with `options` for bench. `label` is what people read."""

    label: str
    root: Path
    options: tuple[str, ...] = ()


def options(text: str) -> tuple[str, ...]:
    """Options of bench as a shell would part them. UsageError where it could not."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(
            f"the options {text.strip()!r} for bench cannot be parted: {error}; mend the quoting"
        ) from None


def here() -> Path:
    """The folder that holds the dimbench that runs now."""
    return Path(__file__).parents[2]


def find(folder: Path | None) -> Path:
    """The root of the checkout around `folder`, by default the current one; UsageError where there is none."""
    folder = folder or Path.cwd()
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give a checkout of dimbench with --new")
    root = Path(_git(folder, "rev-parse", "--show-toplevel") or folder)
    if not (root / "dimbench" / "__main__.py").is_file():
        raise UsageError(f"{folder} lies in no checkout of dimbench; run from one, or give it with --new")
    return root


@contextmanager
def worktree(repository: Path, ref: str) -> Iterator[tuple[Path, str]]:
    """A checkout of `ref` in a temporary folder and its commit; removed at the end, whatever that is, or by the next
    comparison where this process is killed."""
    commit = _git(repository, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    if not commit:
        raise UsageError(f"{ref} is no commit of the repository at {repository}; give a branch, a tag or a commit")
    _remove_stale(repository)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, Path(folder, _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until this process ends, however it does
        place = Path(folder, _PLACE)
        try:
            if _git(repository, "worktree", "add", "--detach", str(place), commit) is None:
                raise DimbenchError(f"git could not check out {ref} in {folder}; see `git worktree list`")
            yield place, commit[:12]
        finally:
            _git(repository, "worktree", "remove", "--force", str(place))


def _remove_stale(repository: Path) -> None:
    """Remove the worktrees of this repository whose process ended without: of ours alone, and no longer locked."""
    listed = _git(repository, "worktree", "list", "--porcelain") or ""
    for line in listed.splitlines():
        place = Path(line.removeprefix("worktree "))
        if place.name != _PLACE or not place.parent.name.startswith(_PREFIX) or not (place.parent / _LOCK).is_file():
            continue
        with (place.parent / _LOCK).open() as lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _git(repository, "worktree", "remove", "--force", str(place))
            shutil.rmtree(place.parent, ignore_errors=True)


def _git(folder: Path, *words: str) -> str | None:
    """What git prints; None where it fails or is missing."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def bench(side: Side, model: str, budget: float) -> list[dict[str, Any]]:
    """The records of `dimbench bench` of one model, measured in a fresh process from the side's checkout."""
    words = ["bench", model, "--json", "--budget", f"{budget:g}", "--out", os.devnull, *side.options]
    # First on the module path is the folder it runs in; its own children find the checkout by PYTHONPATH.
    path = os.pathsep.join(filter(None, (str(side.root), os.environ.get("PYTHONPATH"))))
    own = os.pathsep.join(map(str, preset_files.places()[1:]))  # of the folder that we run in
    environment = {
        **os.environ, "PYTHONPATH": path, preset_files.ENVIRONMENT: own, "PYTHONHASHSEED": "0", "COLUMNS": "200",
    }  # fmt: skip
    code, out, err = _run([sys.executable, "-m", "dimbench", *words], side.root, environment)
    if code:
        kind = UsageError if code == UsageError.exit_code else DimbenchError
        raise kind(f"{side.label} cannot run `dimbench {' '.join(words)}`: {_last_words(err) or f'exit {code}'}")
    try:
        return [results.checked(record, f"what {side.label} printed") for record in json.loads(out)]
    except (ValueError, TypeError, RecursionError):
        said = f"`dimbench bench --json` of {side.label} printed no JSON array of records"
        raise DimbenchError(f"{said}; compare newer commits") from None


def _run(words: Sequence[str], folder: Path, environment: dict[str, str]) -> tuple[int, str, str]:
    """Exit code and streams of a process that ends with this one, and all that it started with it."""
    child = subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, err = child.communicate()
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    return child.returncode, out, err


def _last_words(text: str) -> str:
    """The last line of an error that says something, without the frame Typer draws round it."""
    lines = (line.strip(" │╭╮╰╯─") for line in text.splitlines())
    return next((line.removeprefix("dimbench: ") for line in reversed(list(lines)) if re.search(r"\w", line)), "")
