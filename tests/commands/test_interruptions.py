"""Ctrl-C and SIGTERM, by which CI cancels: real signals to real processes, and what they leave."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.commands.processes import start, wait_for

EXITS = {signal.SIGINT: 130, signal.SIGTERM: 143}
both = pytest.mark.parametrize("number", EXITS)


def stopped(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """What the process says on stderr when it is told to end, which it does as it should."""
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == EXITS[number], said
    assert "Traceback" not in said
    return said


@both
def test_compare_leaves_no_worktree(number: signal.Signals, tmp_path: Path) -> None:
    repository, temporary = tmp_path / "repository", tmp_path / "temporary"
    main = repository / "dimbench" / "__main__.py"
    main.parent.mkdir(parents=True)
    temporary.mkdir()
    main.with_name("__init__.py").touch()
    main.write_text(f"import pathlib, time; pathlib.Path({str(tmp_path)!r}, 'begun').touch(); time.sleep(300)")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "a")):
        subprocess.run(["git", "-C", repository, *words], check=True)
    words = ("compare", "--run", "HEAD", "--new", repository, "dit-digits")
    process = start(tmp_path, *words, TMPDIR=str(temporary))
    wait_for((tmp_path / "begun").exists, process)
    assert "interrupted; no round was finished, and none is kept" in stopped(process, number)
    assert not list(temporary.glob("dimbench-*"))
    listed = subprocess.run(["git", "-C", repository, "worktree", "list"], capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 1
    assert not (tmp_path / "records.jsonl").exists()


@both
@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("sample", "dit-digits", "--out", "a.png"), "a.png.part"),
        (("sample", "dit-digits", "--out", "folder"), "folder"),
        (("fid", "--model", "dit-digits"), "images/*.part"),
    ],
    ids=("sheet", "folder", "fid"),
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


@both
def test_drawing_leaves_no_folder_where_no_image_was_finished(number: signal.Signals, tmp_path: Path) -> None:
    process = start(tmp_path, "sample", "dit-digits", "--num-images", 4000, "--batch", 4000, "--steps", 900)
    wait_for((tmp_path / "samples.png.part" / "manifest.json").exists, process)
    assert "interrupted; no image was finished" in stopped(process, number)
    assert not list(tmp_path.iterdir())


@both
def test_training_says_how_far_it_came(number: signal.Signals, tmp_path: Path) -> None:
    process = start(tmp_path, "train", "dit-digits", "--steps", 100000, "--batch", 8, "--out", "w.safetensors")
    wait_for((tmp_path / "w.ckpt").exists, process)
    said = stopped(process, number)
    assert "interrupted; w.ckpt holds " in said
    assert " of 100000 steps: run again to go on" in said
