"""Finished rounds on disk until their comparison ends, so that one that was killed goes on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from dimbench import paths, results
from dimbench.comparing.checkouts import Side
from dimbench.comparing.pairs import Round
from dimbench.errors import DimbenchError

_CODE = {".py", ".toml", ".cpp", ".h"}


class KeptRounds:
    """The rounds of two sides, by which comparison they are of (the first or the second), model and number."""

    def __init__(self, sides: Sequence[Side], *settings: object) -> None:
        about = [platform.node(), *settings, *((_digest(side.root), side.options) for side in sides)]
        key = hashlib.sha256(repr(about).encode()).hexdigest()[:16]
        self.file = paths.cache_folder() / "rounds" / f"{key}.jsonl"
        self._rounds = self._read()
        if self._rounds:
            many = "1 finished round" if len(self._rounds) == 1 else f"{len(self._rounds)} finished rounds"
            said = f"going on from {many} of the same comparison, which did not end, in {self.file}"
            print(f"dimbench: {said}", file=sys.stderr)

    def get(self, again: bool, model: str, number: int) -> Round | None:
        return self._rounds.get((again, model, number))

    def add(self, again: bool, model: str, number: int, measured: Round) -> None:
        """On disk when this returns."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps([again, model, number, *measured]) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def forget(self) -> None:
        """The comparison has ended."""
        self.file.unlink(missing_ok=True)

    def _read(self) -> dict[tuple[bool, str, int], Round]:
        found: dict[tuple[bool, str, int], Round] = {}
        lines = self.file.read_text(encoding="utf-8", errors="replace").split("\n") if self.file.is_file() else []
        for line in filter(None, lines):
            try:
                again, model, number, *sides = json.loads(line)
                base, new = ([results.checked(record, str(self.file)) for record in side] for side in sides)
                found[bool(again), str(model), int(number)] = base, new
            except (ValueError, TypeError, OverflowError, RecursionError, DimbenchError):
                break  # the kill cut it off; what follows would be glued to it
        if len(found) < len(lines) - 1 or (lines and lines[-1]):
            self.file.write_text("".join(f"{line}\n" for line in lines[: len(found)]), encoding="utf-8")
        return found


def _digest(root: Path) -> str:
    """Of the code under `root`: a checkout that was changed in between is another side."""
    found = hashlib.sha256()
    for room in ("dimbench", "kernels", "presets"):
        for file in sorted(file for file in (root / room).rglob("*") if file.suffix in _CODE):
            found.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes())
    return found.hexdigest()
