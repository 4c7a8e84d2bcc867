from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dimbench import presets
from dimbench.bench import job_shards, running, sweeps
from dimbench.bench import rows as plan
from dimbench.bench.rows import Row
from dimbench.errors import UsageError
from tests import example

NAMES = ("batch", "dtype", "families", "h200", "paper-dico", "paper-dimsum-speed", "patch", "resolution")


def record(row: Row, device_name: str = "here", **changes: Any) -> dict[str, Any]:
    return {
        "command": "bench",
        "conditions": {"device_name": device_name},
        "details": {"row": row.identity},
        **changes,
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_sweep_is_runnable_on_a_gpu(name: str) -> None:

    sweep = sweeps.find(name)
    rows = sweep.rows(device="cuda")
    assert len(rows) == len(set(rows)) > 1
    assert sweep.says
    assert sweep.along in ("", "resolution", "batch")
    for row in rows:
        plan.check(row)
    for model, resolution in {(row.model, row.resolution) for row in rows}:
        example.of(presets.find(model).config, resolution)


def test_a_network_of_ones_own_is_measured_again_once_its_file_is_edited(tmp_path: Path) -> None:
    file = tmp_path / "my_model.py"
    file.write_text("from torch.nn import Linear\n")
    rows = [Row(f"{file}:Linear,in_features=4"), Row("dit-s2")]
    records = [record(row) for row in rows]
    assert sweeps.missing(rows, records, "here") == []
    file.write_text("from torch.nn import Linear  # otherwise\n")
    assert sweeps.missing(rows, records, "here") == rows[:1]
    assert presets.code_of("dit-s2") is presets.code_of("torchvision.models:vgg11") is None


def test_all_sweeps_are_listed_by_name() -> None:
    assert tuple(sweeps.all_sweeps()) == NAMES


def test_the_resolution_sweep_reaches_from_256_to_4096() -> None:
    rows = sweeps.find("resolution").rows()
    assert {row.model for row in rows} == {"dit-xl2", "udit-l", "dim-h2", "dimsum-xl2"}
    assert {row.resolution for row in rows} >= {256, 512, 1024, 2048, 4096}


def test_a_sweep_includes_others() -> None:
    whole = sweeps.find("h200").rows()
    assert set(sweeps.find("resolution").rows()) <= set(whole)
    assert {row.steps for row in whole} == {None, 61, 62}


def test_what_is_fixed_takes_the_place_of_the_sweeps_own() -> None:
    rows = sweeps.find("resolution").rows(["dit-s2"], dtype="fp32", device="cpu")
    assert {(row.model, row.dtype) for row in rows} == {("dit-s2", "fp32")}


def test_near_names_are_suggested() -> None:
    with pytest.raises(UsageError, match="did you mean resolution"):
        sweeps.find("resolutions")
    with pytest.raises(UsageError, match="known are batch"):
        sweeps.find("xyz")


def test_shards_are_disjoint_and_complete() -> None:
    rows = sweeps.find("resolution").rows(device="cuda")
    parts = [job_shards.JobShard(i, 4).rows(rows) for i in range(1, 5)]
    assert {row for part in parts for row in part} == set(rows)
    assert sum(map(len, parts)) == len(rows)
    loads = [sum(map(job_shards.predicted, part)) for part in parts]
    assert max(loads) - min(loads) <= max(map(job_shards.predicted, rows))
    assert max(map(len, parts)) - min(map(len, parts)) > 1, "balanced by cost, not by number"


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_a_shard_that_is_none_is_refused(part: str) -> None:
    with pytest.raises(UsageError, match="--shard"):
        job_shards.parse(part)


def test_rows_that_this_device_has_are_left_out() -> None:
    first, second, third = (Row("dit-s8", 256, batch=batch) for batch in (1, 2, "best"))
    records = [record(first), record(second, "elsewhere"), record(third), {"command": "params", "conditions": {}}]
    assert sweeps.missing([first, second, third], records, "here") == [second]
    assert sweeps.records_of([third, second, first], records, "here") == [records[2], records[0]]


def test_of_two_records_of_a_row_the_last_counts() -> None:
    row = Row("dit-s8", 256)
    assert sweeps.records_of([row], [record(row, created="a"), record(row, created="b")], "here")[0]["created"] == "b"


def test_a_sweep_is_one_of_whole_runs_where_steps_are_given() -> None:
    rows = sweeps.find("patch").rows(["dit-digits"], steps=4, cfg=True, methods=("fora:every=2",))
    assert {(row.mode, row.steps, row.cfg, row.methods) for row in rows} == {("sample", 4, True, ("fora:every=2",))}
    running.check(rows)
