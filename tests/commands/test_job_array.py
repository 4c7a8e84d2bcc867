"""The page's script for Slurm, run without Slurm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dimbench import results
from tests.commands.processes import ROOT
from tests.console import dimbench, refused

(SCRIPT,) = re.findall(r"```slurm\n(.*?)```", (ROOT / "docs" / "clusters.md").read_text(), re.S)
SRUN = """#!/bin/bash
export SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NTASKS=1 SLURM_STEP_TASKS_PER_NODE=1
exec "$@"
"""
DIMBENCH = f'#!/bin/bash\nexec {sys.executable} -m dimbench "$@" --model dit-digits --budget 0.1 --device cpu\n'


@pytest.mark.slow
def test_the_array_script_measures_every_row_once(tmp_path: Path) -> None:
    places = {"srun": SRUN, "dimbench": DIMBENCH}
    for name, text in places.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "job.sh").write_text(SCRIPT.replace("sweep resolution", "sweep batch"))
    (first, last) = map(int, re.findall(r"--array=(\d+)-(\d+)", SCRIPT)[0])
    for task in range(first, last + 1):
        environment = {
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "SLURM_JOB_ID": "4711",
            "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_PROCID": "0",
            "SLURM_NTASKS": "1",
            "SLURM_LOCALID": "0",
        }
        ran = subprocess.run(["bash", "job.sh"], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
    parts = sorted(tmp_path.glob("part-*.jsonl"))
    said = refused(1, "merge", *parts[1:], "--out", tmp_path / "all.jsonl")
    assert f"run --shard 1/{last}" in said
    assert dimbench("merge", *parts, "--out", tmp_path / "all.jsonl").code == 0
    found = results.read(tmp_path / "all.jsonl")
    assert len(found) == found[0]["details"]["plan_rows"] > last


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("bench", "dit-digits", "--budget", 0.1),
        ("sweep", "batch", "--model", "dit-digits", "--budget", 0.1),
        ("fid", "dit-digits", "--steps", 2, "--num-images", 12),
        ("frontier", "dit-digits", "--steps", 2, "--num-images", 12, "--with", "fora:every=2"),
    ],
    ids=lambda words: words[0],
)
def test_a_shard_without_rows_says_so_and_leaves_a_file_to_merge(words: tuple[object, ...], tmp_path: Path) -> None:
    empty, whole = tmp_path / "20.jsonl", tmp_path / "1.jsonl"
    ran = dimbench(*words, "--shard", "20/20", "--out", empty)
    assert (ran.code, empty.read_text()) == (0, "")
    assert re.search(r"shard 20/20 is empty: of rows there are \d+", ran.stderr)
    assert dimbench(*words, "--shard", "20/20", "--out", empty, "--json").code == 0
    assert dimbench("flops", "dit-s2", "--out", whole).code == 0
    assert dimbench("merge", whole, empty, "--out", tmp_path / "all.jsonl").code == 0
