"""Rows cut into shards for the jobs of an array, so that each has about as much to compute."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dimbench import presets, results
from dimbench.bench.rows import BEST, Row
from dimbench.errors import DimbenchError, UsageError
from dimbench.image_size import Resolution
from dimbench.progress import say

TRAINING = 3  # passes of a training step: forward, and backward to inputs and to weights


@dataclass(frozen=True)
class JobShard:
    """Part `part` of `parts`, from 1."""

    part: int = 1
    parts: int = 1

    def numbers(self, costs: Sequence[float]) -> list[int]:
        """Which items fall to this part: the dearest first, each to the part that has least to do so far."""
        loads = [(0.0, 0, part) for part in range(self.parts)]
        mine = []
        for number in sorted(range(len(costs)), key=lambda number: (-costs[number], number)):
            load, count, part = min(loads)
            loads[part] = (load + costs[number], count + 1, part)
            if part == self.part - 1:
                mine.append(number)
        return sorted(mine)

    def rows(self, rows: Sequence[Row]) -> list[Row]:
        """The rows of this part, in their order, balanced by their counts."""
        if self.parts == 1:
            return list(rows)
        return [rows[number] for number in self.numbers([predicted(row) for row in rows])]

    def said_if_empty(self, whole: Sequence[Any], mine: Sequence[Any], file: Path | None) -> None:
        """Where no row falls to this part, say so and leave its `file`, without records, for `merge`."""
        if not mine:
            say(f"dimbench: shard {self.part}/{self.parts} is empty: of rows there are {len(whole)}")
            if file:
                results.append([], file)

    def note(self, whole: Sequence[Any], mine: Sequence[Any]) -> dict[str, Any]:
        """What a record says of the `whole` that its row is part of, as JSON can hold it, and of the part; nothing
        where there is one part."""
        if self.parts == 1:
            return {}
        plan = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:8]
        return {"shard": f"{self.part}/{self.parts}", "shard_rows": len(mine), "plan_rows": len(whole), "plan": plan}


def parse(text: str) -> JobShard:
    """ "2/4" -> part 2 of 4. UsageError for anything else."""
    first, _, parts = text.partition("/")
    if not (_is_number(first) and _is_number(parts) and 1 <= int(first) <= int(parts)):
        raise UsageError(f"--shard {text!r} is not understood; give i/n with i from 1 to n, such as 1/4")
    return JobShard(int(first), int(parts))


def predicted(row: Row) -> float:
    """Multiply-adds of what the row repeats, by the count; 0 where it cannot be counted beforehand."""
    images = (1 if row.batch == BEST else int(row.batch)) * (2 if row.cfg else 1)
    return images * (row.steps or 1) * (TRAINING if row.mode == "train" else 1) * _macs(row.model, row.resolution, row)


def _macs(model: str, resolution: Resolution | None, row: Row) -> float:
    if presets.of(model) and not (row.inputs or row.frames):
        return _kept(model, resolution)
    from dimbench.bench import subject

    try:
        return subject.cost(row, subject.found(row), 1).macs
    except DimbenchError:
        return 0.0


@cache
def _kept(model: str, resolution: Resolution | None) -> float:
    from dimbench.counting import kept

    try:
        return kept.sums(model, resolution).macs("macs")
    except DimbenchError:
        return 0.0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 7
