"""Files of shards, put together or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dimbench import results
from dimbench.bench.job_shards import JobShard
from dimbench.bench.rows import Row
from dimbench.comparing.merging import merged
from dimbench.errors import DimbenchError
from dimbench.results import Record

ROWS = [Row("dit-s8", 256, batch=batch) for batch in (1, 2, 4, 8, 16)]
MADE = {"dimbench": "1", "commit": "a", "torch": "2"}


def written(folder: Path, part: int, rows: int | None = None, parts: int = 3, **environment: str) -> Path:
    """The file of a shard, or the first `rows` of it."""
    shard, file = JobShard(part, parts), folder / f"{part}-{len(list(folder.iterdir()))}.jsonl"
    mine, made = shard.rows(ROWS), {**MADE, **environment}
    note: dict[str, Any] = {"sweep": "batch", **shard.note([row.key for row in ROWS], mine)}
    found = [
        Record("bench", row.model, {"batch": row.batch}, {}, details={**note, "row": row.key}, environment=made)
        for row in mine[:rows]
    ]
    results.append(found, file)
    return file


def test_whole_shards_make_a_whole(tmp_path: Path) -> None:
    found = merged([written(tmp_path, part) for part in (1, 2, 3)])
    assert found.faults == []
    assert sorted(record["conditions"]["batch"] for record in found.records) == [1, 2, 4, 8, 16]


def test_shards_without_a_row_are_not_missed(tmp_path: Path) -> None:
    assert merged([written(tmp_path, part, parts=7) for part in range(1, 6)]).faults == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([(1, {}), (3, {})], "1 of 5 rows is in no file; run --shard 2/3"),
        ([(4, {"parts": 9})], "4 of 5 rows are in no file; run --shard i/9 for i in 1-3,5-9"),
        ([(1, {}), (2, {}), (3, {"rows": 1})], "shard 3/3 has 1 of 3 rows; run --shard 3/3 of the sweep batch again"),
        ([(1, {}), (2, {}), (3, {}), (2, {})], "is there 2 times under the same conditions"),
        ([(1, {}), (2, {"torch": "1"}), (3, {})], "made by torch 1 and most by 2; run --shard 2/3 of the sweep batch"),
        ([(1, {}), (2, {}), (3, {"commit": "b"})], "made by commit"),
        ([(1, {"parts": 2}), (2, {}), (3, {})], "cut into 2 and into 3 shards"),
    ],
)
def test_what_is_wrong_with_a_shard_is_said(given: list[tuple[int, dict[str, Any]]], said: str, tmp_path: Path) -> None:
    faults = merged([written(tmp_path, part, **how) for part, how in given]).faults
    assert any(said in fault for fault in faults), faults


@pytest.mark.parametrize(
    "harm",
    [
        ('"shard": "1/3"', '"shard": 5'), ('"shard": "1/3"', '"shard": "1/99999999"'), ('"shard_rows"', '"other"'),
        ('"plan_rows": 5', '"plan_rows": "x"'), ('"plan": "', '"plan": 1, "other": "'),
    ],
)  # fmt: skip
def test_a_shard_that_is_none_is_one_sentence(harm: tuple[str, str], tmp_path: Path) -> None:
    file = written(tmp_path, 1)
    text = file.read_text()
    assert harm[0] in text
    file.write_text(text.replace(*harm))
    with pytest.raises(DimbenchError, match="what no shard is; run that shard again"):
        merged([file])
