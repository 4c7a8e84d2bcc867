"""Ranks that were started wrongly, or of which one ends or hangs, and commands with nothing to share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dimbench.sampling.export import write_pngs
from tests.commands.processes import ROOT, start, wait_for

DRAWN = ("fid", "dit-digits", "--steps", 2, "--num-images", 40, "--batch", 10, "--json")
OWN = ("--input", "x=1x8x8", "--process", "flow", "--random-weights")
NETWORK = """from torch import nn
class Net(nn.Conv2d):
    def __init__(self): super().__init__(1, 1, 3, padding=1)
    def forward(self, x, t): return {} * super().forward(x)
"""
LONG = ("sample", "dit-digits", "--steps", 10, "--num-images", 400, "--batch", 20, "--out", "run")


@contextmanager
def tasks(folder: Path, *lines: tuple[object, ...], **variables: str) -> Iterator[list[subprocess.Popen[str]]]:
    """A process for each command line, as srun would start them."""
    begun = []
    for rank, words in enumerate(lines):
        own = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NTASKS": str(len(lines)), **variables}
        begun.append(start(folder, *words, **own))
    try:
        yield begun
    finally:
        for process in begun:
            process.kill()
            process.communicate()


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each."""
    said = [process.communicate(timeout=100) for process in processes]
    return [(process.returncode, *each) for process, each in zip(processes, said, strict=True)]


def test_tasks_of_srun_share_the_work(tmp_path: Path) -> None:
    with tasks(tmp_path, DRAWN, DRAWN) as both:
        first, second = ended(both)
    assert (first[0], second[0]) == (0, 0), first[2] + second[2]
    assert len(json.loads(first[1])) == 1
    assert second[1:] == ("", "")
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == 1


def test_of_a_command_with_nothing_to_share_one_rank_is_enough(tmp_path: Path) -> None:
    with tasks(tmp_path, *[("flops", "dit-s2", "--json")] * 2) as both:
        first, second = ended(both)
    assert len(json.loads(first[1])) == 1
    assert second == (0, "", "")
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("words", [("bench", "dit-s2"), ("device",), ("calibrate",), ("compare", "a", "b")])
def test_no_twin_runs_beside_what_is_timed(words: tuple[str, ...], tmp_path: Path) -> None:
    with tasks(tmp_path, words, words) as both:
        for code, printed, said in ended(both):
            assert (code, printed, said.count("\n")) == (2, "", 1)
            assert f"`{words[0]}` times what runs there alone" in said
            assert "--shard i/n" in said


@pytest.mark.slow
def test_ranks_that_were_told_different_things_do_not_start(tmp_path: Path) -> None:
    with tasks(tmp_path, DRAWN, (*DRAWN, "--seed", 1), DRAWN) as three:
        found = ended(three)
    assert [code for code, *_ in found] == [2, 2, 2]
    assert "rank 1 --seed" in found[0][2]
    assert [said for *_, said in found[1:]] == ["", ""], "one rank says it"
    other = tuple(3 if word == 2 else word for word in DRAWN)
    with tasks(tmp_path, DRAWN, other) as both:
        assert "rank 0 was given --steps 2 and rank 1 --steps 3" in ended(both)[0][2]


def test_what_fails_in_every_rank_is_said_once(tmp_path: Path) -> None:
    with tasks(tmp_path, *[("fid", "dit-digits", "--weights", "none.safetensors")] * 2) as both:
        first, second = ended(both)
    assert first[0] == second[0] != 0
    assert "none.safetensors" in first[2]
    assert second[2] == ""


@pytest.mark.slow
def test_a_rank_that_hangs_is_named_and_what_is_drawn_is_kept(tmp_path: Path) -> None:
    with tasks(tmp_path, LONG, LONG, DIMBENCH_PATIENCE="3") as (first, second):
        wait_for(lambda: len(list(tmp_path.glob("run/shards/*.npy"))) > 2, first)
        os.kill(second.pid, signal.SIGSTOP)
        ((code, printed, said),) = ended([first])
    assert (code, printed) == (1, "")
    assert "rank 1 on" in said
    assert "done nothing for 3" in said
    assert "DIMBENCH_PATIENCE" in said
    drawn = len(list(tmp_path.glob("run/shards/*.npy")))
    assert drawn in (19, 20), "all but what the one had in hand, which is none between two batches, is drawn"


@pytest.mark.slow
def test_of_three_the_one_that_hangs_is_named_before_another_ends(tmp_path: Path) -> None:
    """For at the first that ends a launcher ends the rest."""
    with tasks(tmp_path, LONG, LONG, LONG, DIMBENCH_PATIENCE="3") as (first, second, third):
        wait_for(lambda: len(list(tmp_path.glob("run/shards/*.npy"))) > 2, first)
        os.kill(third.pid, signal.SIGSTOP)
        ((_, _, silent),) = ended([second])
        assert first.poll() == 1
        ((_, _, said),) = ended([first])
    assert "rank 2 on" in said
    assert silent == ""


@pytest.mark.slow
def test_who_draws_a_sheet_alone_shows_that_it_goes_on(tmp_path: Path) -> None:
    words = ("sample", "dit-digits", "--steps", 50, "--num-images", 400, "--batch", 10, "--to", "sheet.png")
    with tasks(tmp_path, words, words, DIMBENCH_PATIENCE="2") as both:
        assert [code for code, *_ in ended(both)] == [0, 0]


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_others_in_time(tmp_path: Path) -> None:
    with tasks(tmp_path, LONG, LONG, DIMBENCH_PATIENCE="3") as (first, second):
        wait_for(lambda: len(list(tmp_path.glob("run/shards/*.npy"))) > 2, first)
        os.kill(second.pid, signal.SIGTERM)
        ((code, _, said),) = ended([first])
    assert code == 1
    assert "rank 1 has ended early (KeyboardInterrupt)" in said


@pytest.mark.slow
def test_the_first_rank_is_killed_and_the_other_says_so(tmp_path: Path) -> None:
    with tasks(tmp_path, LONG, LONG, DIMBENCH_PATIENCE="3") as (first, second):
        wait_for(lambda: len(list(tmp_path.glob("run/shards/*.npy"))) > 2, first)
        first.kill()
        ((code, _, said),) = ended([second])
    assert code == 1
    assert said.splitlines() == [
        "dimbench: another process of this run ended early or hangs; what is drawn is kept: run again to go on"
    ]


@pytest.mark.slow
def test_a_first_rank_that_hangs_whole_ends_the_other_in_time(tmp_path: Path) -> None:
    """It keeps the store, which then answers nobody."""
    with tasks(tmp_path, LONG, LONG, DIMBENCH_PATIENCE="3") as (first, second):
        wait_for(lambda: len(list(tmp_path.glob("run/shards/*.npy"))) > 2, first)
        os.kill(first.pid, signal.SIGSTOP)
        ((code, _, said),) = ended([second])
    assert code == 1
    assert "rank 0 on 127.0.0.1 has not answered for 3 s, the time-out ($DIMBENCH_PATIENCE" in said


def test_a_folder_that_not_all_ranks_see_is_found_before_drawing(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    own = {"SLURM_NTASKS": "2", "MASTER_PORT": "23457"}
    first = start(tmp_path, *LONG, SLURM_PROCID="0", SLURM_LOCALID="0", **own)
    second = start(tmp_path / "other", *LONG, SLURM_PROCID="1", SLURM_LOCALID="1", **own)
    (code, _, said), other = ended([first, second])
    assert (code, other[0]) == (1, 1)
    assert "is not seen by all ranks" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("visible", [""])
def test_a_rank_without_a_device_is_named(visible: str, tmp_path: Path) -> None:
    words = (*DRAWN, "--device", "cuda")
    with tasks(tmp_path, words, words, CUDA_VISIBLE_DEVICES=visible) as both:
        found = ended(both)
    assert [code for code, *_ in found] == [2, 2]
    assert "rank 0 is number 0 on" in found[0][2]
    assert "sees no NVIDIA GPUs" in found[0][2]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((*DRAWN, "--weights", "w.safetensors"), "weights"),
        (("sample", "dit-digits", "--num-images", 4, "--to", "PLACE/run", "--weights", "w.safetensors"), "weights"),
        (("stats", "seen", "--to", "PLACE/real.npz"), "images"),
        (("fid", "--images", "seen"), "images"),
        (("fid", "--images", "same", "--reference", "seen"), "reference_sha256"),
        ((*DRAWN[:1], "own.py:Net", *DRAWN[2:], *OWN), "code"),
        (("sample", "own.py:Net", "--num-images", 4, "--to", "PLACE/run", *OWN), "code"),
    ],
)
def test_files_of_one_name_that_differ_from_machine_to_machine_are_found_before_drawing(
    words: tuple[object, ...], named: str, tmp_path: Path
) -> None:
    own = {"SLURM_NTASKS": "2", "MASTER_PORT": "23458"}
    begun = []
    for rank in range(2):
        place = tmp_path / str(rank)
        for folder in (place / "seen", place / "same"):
            folder.mkdir(parents=True)
        weights = load_file(ROOT / "dimbench/data/weights/dit-digits.safetensors")
        save_file({name: value * (1 + rank) for name, value in weights.items()}, place / "w.safetensors")
        (place / "own.py").write_text(NETWORK.format(1 + rank))
        for folder, side in (("seen", 4 + rank), ("same", 4)):
            write_pngs(place / folder, torch.full((side, 3, 8, 8), 99, dtype=torch.uint8), range(side))
        given = [str(word).replace("PLACE", str(tmp_path)) for word in words]
        variables = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "DIMBENCH_CACHE": str(tmp_path), **own}
        begun.append(start(place, *given, **variables))
    (code, printed, said), (other_code, *_) = ended(begun)
    assert (code, other_code, printed) == (2, 2, "")
    assert f"dimbench: {named} is " in said
    assert "on rank 0 and" in said
