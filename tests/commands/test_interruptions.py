"""Ctrl-C and SIGTERM, by which CI cancels: real signals to real processes, and what they leave."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.commands.processes import start, wait_for, worktrees
from tests.comparing.rounds_of import entry

EXITS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def stopped(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """What the process says on stderr when it is told to end, which it does as it should."""
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == EXITS[number], said
    assert "Traceback" not in said
    return said


BENCH = """
import json, pathlib, sys, time
calls = pathlib.Path({calls!r})
calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
time.sleep({seconds})
print(json.dumps([{record}]))
"""


def checkout(folder: Path, seconds: float) -> Path:
    """A repository whose dimbench takes `seconds` for each call, which it notes in `folder`/calls."""
    root = folder / "repository"
    main = root / "dimbench" / "__main__.py"
    main.parent.mkdir(parents=True)
    main.with_name("__init__.py").touch()
    main.write_text(BENCH.format(calls=str(folder / "calls"), seconds=seconds, record=entry(0, model="dit-digits")))
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "a")):
        subprocess.run(["git", "-C", root, *words], check=True)
    return root


@pytest.mark.parametrize("number", EXITS)
def test_compare_leaves_no_worktree(number: signal.Signals, tmp_path: Path) -> None:
    repository, temporary = checkout(tmp_path, seconds=300), tmp_path / "temporary"
    temporary.mkdir()
    words = ("compare", "--run", "HEAD", "--new", repository, "dit-digits")
    process = start(tmp_path, *words, TMPDIR=str(temporary))
    wait_for((tmp_path / "calls").exists, process)
    assert "interrupted; no round was finished" in stopped(process, number)
    assert not list(temporary.glob("dimbench-*"))
    assert worktrees(repository) == 1
    assert not (tmp_path / "records.jsonl").exists()


def test_a_killed_compare_goes_on_with_its_finished_rounds(tmp_path: Path) -> None:
    repository, calls = checkout(tmp_path, seconds=0.2), tmp_path / "calls"
    (temporary := tmp_path / "temporary").mkdir()
    words = ("compare", "--run", "HEAD", "--new", repository, "dit-digits", "--rounds", 8, "--json")
    process = start(tmp_path, *words, TMPDIR=str(temporary))
    wait_for(lambda: calls.exists() and len(calls.read_text()) > 7, process)
    process.kill()
    process.communicate()
    (kept,) = (tmp_path / "rounds").iterdir()
    finished = len(kept.read_text().splitlines())
    kept.write_text(kept.read_text() + '[false, "dit-di')  # as a kill in the middle of a line leaves it
    calls.unlink()
    assert list(temporary.glob("dimbench-*/base"))
    again = start(tmp_path, *words, TMPDIR=str(temporary))
    printed, said = again.communicate(timeout=60)
    assert again.returncode == 0, said
    assert f"{finished} finished round" in said
    assert "of the same comparison, which did not end" in said
    assert len(calls.read_text()) == 2 * (8 - finished)
    assert {len(record["samples"]["base"]) for record in json.loads(printed)} == {8}
    assert not kept.exists()
    assert not list(temporary.glob("dimbench-*"))
    assert worktrees(repository) == 1


def test_a_killed_sweep_goes_on_with_the_rows_that_are_missing(tmp_path: Path) -> None:
    words = ("sweep", "batch", "--model", "dit-digits", "--model", "sit-digits", "--shard", "8/9", "--budget", 0.1)
    process, records = start(tmp_path, *words), tmp_path / "records.jsonl"
    wait_for(lambda: records.exists() and records.read_bytes(), process)
    process.kill()
    process.communicate()
    stored = records.read_bytes()
    assert stored.count(b"\n") == 1
    _, said = (again := start(tmp_path, *words)).communicate(timeout=300)
    assert again.returncode == 0, said
    assert f"dimbench: 1 of 3 rows are in {records}" in said
    assert records.read_bytes().startswith(stored)
    assert records.read_bytes().count(b"\n") == 3


# One signal each from here on: the command above shows that both mean the same.
@pytest.mark.parametrize(
    ("number", "words", "part"),
    [
        (signal.SIGTERM, ("sample", "dit-digits", "--out", "folder"), "folder"),
        (signal.SIGINT, ("fid", "--model", "dit-digits"), "images/*.part"),
    ],
    ids=("folder", "fid"),
)
def test_drawing_says_what_is_kept(number: signal.Signals, words: tuple[str, ...], part: str, tmp_path: Path) -> None:
    process = start(tmp_path, *words, "--num-images", 400, "--batch", 4, "--steps", 40)
    wait_for(lambda: len(list(tmp_path.glob(f"{part}/shards/*.npy"))) > 1, process)
    said = stopped(process, number)
    (folder,) = tmp_path.glob(part)
    images = 4 * len(list(folder.glob("shards/*.npy")))
    place = folder if "fid" in words else folder.relative_to(tmp_path)
    assert f"interrupted; {images} images are kept in {place}: the same command goes on from there" in said
    assert not (tmp_path / "records.jsonl").exists()


def test_drawing_leaves_no_folder_where_no_image_was_finished(tmp_path: Path) -> None:
    process = start(tmp_path, "sample", "dit-digits", "--num-images", 4000, "--batch", 4000, "--steps", 900)
    wait_for((tmp_path / "samples.png.part" / "manifest.json").exists, process)
    assert "interrupted; no image was finished" in stopped(process, signal.SIGTERM)
    assert not list(tmp_path.iterdir())
