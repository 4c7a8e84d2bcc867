"""Where records lie: in files, in folders of such, or on a branch of the git repository that one stands in."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dimbench import results
from dimbench.errors import DimbenchError

_KIND = ".jsonl"


def read_all(places: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The records of each file that the places name: a file, a folder with .jsonl files somewhere below it, or, where
    no file is called so, COMMIT:PATH of either, as git writes it. DimbenchError for a place without a file, and as
    results.read raises."""
    return {name: records for place in places for name, records in _read(place).items()}


def _read(place: str) -> dict[str, list[dict[str, Any]]]:
    path = Path(place)
    if path.is_dir():
        files = sorted(path.rglob(f"*{_KIND}"))
        if not files:
            raise DimbenchError(f"there is no {_KIND} file in {path}; give a folder with records")
        return {str(file): results.read(file) for file in files}
    commit, colon, inside = place.partition(":")
    if not colon or path.exists():
        return {place: results.read(path)}
    listed = _git("ls-tree", "-r", "-z", "--full-tree", "--name-only", commit, "--", *filter(None, [inside]))
    there = filter(None, (listed or b"").decode().split("\0"))
    names = [name for name in there if name == inside or name.endswith(_KIND)]
    if not names:
        why = f"{commit} holds no records in {inside or 'it'}" if listed is not None else f"{commit} is no commit"
        raise DimbenchError(
            f"there is no file {place}, and in the git repository here {why}; give BRANCH:PATH, such as "
            "results:records.jsonl"
        )
    shown = {f"{commit}:{name}": _git("show", f"{commit}:{name}") or b"" for name in names}
    return {name: results.read_bytes(data, name) for name, data in shown.items()}


def _git(*words: str) -> bytes | None:
    """What git prints; None where it fails or is missing."""
    try:
        done = subprocess.run(["git", *words], capture_output=True)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
