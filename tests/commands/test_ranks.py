"""Several processes that share one command's work, by gloo on one machine."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.processes import finish, start, wait_for
from tests.quality.sets import digit_images

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
DRAWN = ("fid", "dit-digits", "--steps", 2, "--num-images", 95, "--batch", 10, "--json")
APART = """
import os
os.environ["DIMBENCH_CACHE"] += os.environ["RANK"]
from dimbench.cli import main
main()
"""


def by_ranks(folder: Path, count: int, *words: object, **variables: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return start(folder, count, "-m", "dimbench", *words, python=TORCHRUN, **variables)


def figures(printed: str) -> list[Any]:
    """All of the records that does not depend on the time, or on whether images were there already."""
    records = json.loads(printed)
    for record in records:
        for name in ("seconds", "network_calls"):
            record["metrics"].pop(name, None)
    return [(r["metrics"], r["conditions"], r["warnings"], r["details"]) for r in records]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return figures(finish(start(tmp_path_factory.mktemp("alone"), *DRAWN)))


def left_behind(folder: Path) -> list[str]:
    """Of images and features what still lies in the cache."""
    return [path.name for path in folder.rglob("*") if path.suffix in (".npy", ".lock")]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_figures_do_not_depend_on_the_number_of_ranks(count: int, alone: list[Any], tmp_path: Path) -> None:
    assert figures(finish(by_ranks(tmp_path, count, *DRAWN))) == alone
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == 1
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_streaming_ranks_keep_no_image(alone: list[Any], tmp_path: Path) -> None:
    run = by_ranks(tmp_path, 2, *DRAWN, "--stream")
    seen = set()
    while run.poll() is None:
        names = [name for _, _, names in os.walk(tmp_path) for name in names]
        seen |= {name.split("-")[0] for name in names if name.endswith(".npy")}
    assert figures(finish(run)) == alone
    assert seen <= {"pool", "logits", "pixels"}
    assert not (tmp_path / "images").exists()


@pytest.mark.slow
def test_ranks_without_a_common_folder_keep_their_own(alone: list[Any], tmp_path: Path) -> None:
    script = tmp_path / "apart.py"
    script.write_text(APART)
    (tmp_path / "home").mkdir()
    run = start(tmp_path / "home", 2, script, *DRAWN, python=TORCHRUN, DIMBENCH_CACHE=str(tmp_path / "cache"))
    printed, said = run.communicate(timeout=300)
    assert run.returncode == 0, said
    assert figures(printed) == alone
    assert "each keeps its own images" in said
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_stats_by_ranks_are_the_same_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", arr_0=digit_images("train")[:100].permute(0, 2, 3, 1).numpy())
    for count in (1, 2, 3):
        finish(
            by_ranks(tmp_path, count, "stats", "images.npz", "--out", f"{count}.npz", "--batch", 7, "--features", 20)
        )
    one, *others = (dict(np.load(tmp_path / f"{count}.npz")) for count in (1, 2, 3))
    for other in others:
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_images_on_disk_are_looked_at_by_all(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", arr_0=digit_images("train")[:600].permute(0, 2, 3, 1).numpy())
    words = ("fid", "--images", "images.npz", "--json")
    assert figures(finish(by_ranks(tmp_path, 2, *words))) == figures(finish(start(tmp_path, *words)))


def children(process: subprocess.Popen[str]) -> list[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(word) for word in listed.split()]


def one_is_killed(run: subprocess.Popen[str], chance: random.Random) -> None:
    if victims := children(run):
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(victims), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_killed_ranks_are_started_again_and_change_nothing(count: int, alone: list[Any], tmp_path: Path) -> None:
    chance = random.Random(count)
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        run = start(folder, count, "--max-restarts", 3, "-m", "dimbench", *DRAWN, python=TORCHRUN)
        wait_for(lambda run=run: len(children(run)) >= count, run)
        time.sleep(chance.uniform(1, 5))
        one_is_killed(run, chance)
        assert figures(finish(run)) == alone
        assert not left_behind(folder)


@pytest.mark.slow
def test_what_is_stored_when_a_rank_is_killed_is_not_stored_or_printed_again(alone: list[Any], tmp_path: Path) -> None:
    ending = "import sys, time\nfrom dimbench.sampling import ranks\nleft = ranks._left\n"
    ending += (
        "ranks._left = lambda here: (time.sleep(4 * here.rank), left(here))\n"  # the first one goes, the other lags
    )
    (tmp_path / "lagging.py").write_text(f"{ending}from dimbench.cli import main\nmain()\n")
    run = start(tmp_path, 2, "--max-restarts", 1, tmp_path / "lagging.py", *DRAWN, python=TORCHRUN)
    records = tmp_path / "records.jsonl"
    wait_for(records.exists, run)
    time.sleep(1)
    one_is_killed(run, random.Random(0))
    assert figures(finish(run)) == alone
    assert len(records.read_text().splitlines()) == 1


@pytest.mark.slow
def test_a_new_start_finishes_what_a_killed_one_began(alone: list[Any], tmp_path: Path) -> None:
    run = by_ranks(tmp_path, 2, *DRAWN)
    wait_for(lambda: list(tmp_path.glob("images/*/shards/*.npy")), run)
    os.kill(children(run)[0], signal.SIGKILL)
    run.communicate(timeout=100)
    assert figures(finish(by_ranks(tmp_path, 3, *DRAWN))) == alone
    assert not left_behind(tmp_path)


LONGER = ("fid", "dit-digits", "--steps", 150, "--num-images", 95, "--batch", 10, "--json")


@pytest.fixture(scope="module")
def alone_longer(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return figures(finish(start(tmp_path_factory.mktemp("longer"), *LONGER)))


def agent(folder: Path, port: int) -> subprocess.Popen[str]:
    """One of up to two machines of an elastic job, which may come and go."""
    meet = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", "job")
    elastic = ("--nnodes", "1:2", "--max-restarts", 3, *meet, "--rdzv-conf", "last_call_timeout=1")
    return start(folder, *elastic, "-m", "dimbench", *LONGER, python=("-m", "torch.distributed.run"))


@pytest.mark.slow
@pytest.mark.parametrize("stays", [True, False])
def test_an_elastic_job_goes_on_with_another_number_of_ranks(
    stays: bool, alone_longer: list[Any], tmp_path: Path
) -> None:
    def drawn() -> int:
        return len(list(tmp_path.glob("images/*/shards/*.npy")))

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    first = agent(tmp_path, port)
    wait_for(lambda: drawn() > 0, first)
    second = agent(tmp_path, port)
    wait_for(lambda: children(second), second)
    if not stays:
        before = drawn()
        wait_for(lambda: drawn() > before, first)
        for process in (*children(second), second.pid):
            os.kill(process, signal.SIGKILL)
    said = [process.communicate(timeout=300) for process in (first, second)]
    assert first.returncode == 0, said
    assert figures("".join(printed for printed, _ in said)) == alone_longer
    assert "ranks          2, of whom" in said[0][1] + said[1][1]
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == 1
    assert not left_behind(tmp_path)
