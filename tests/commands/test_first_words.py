"""What a command says before it does what takes long."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dimbench.quality import networks, references
from dimbench.sampling import drawing
from tests.commands.processes import ROOT
from tests.console import dimbench

SLOW = ["flops dit-digits --batch 2", "doctor", "sample dit-digits --num-images 1 --steps 2", "fid dit-digits --plan"]


def on_a_terminal(folder: Path, *words: str) -> tuple[str, str]:
    """stdout, and what the terminal gets where stderr is one, with a line for each module once it is imported."""
    outside, inside = os.openpty()
    places = {name: str(folder) for name in ("DIMBENCH_RESULTS", "DIMBENCH_CACHE")}
    environment = {**os.environ, **places, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "xterm"}
    run = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "dimbench", *words],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=inside,
    )  # fmt: skip
    os.close(inside)
    said = b""
    try:
        while part := os.read(outside, 65536):
            said += part
    except OSError:  # the other end is closed
        pass
    os.close(outside)
    printed = run.communicate()[0]
    assert run.returncode == 0, said
    return printed.decode(), said.decode()


@pytest.mark.parametrize("command", SLOW)
def test_a_terminal_shows_what_is_done_before_torch_is_there(command: str, tmp_path: Path) -> None:
    printed, said = on_a_terminal(tmp_path, *command.split())
    assert "loading torch" not in printed
    first = re.search(r"\| +torch\.", said)
    assert first, "torch is imported, part by part"
    assert "loading torch" in said[: first.start()]


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ("dit-digits --reference .", "network calls  250 per image"),
        ("dit-digits", "network calls  250 per image"),
        ("--real", "images         1,294 of 8 x 8 pixels"),
    ],
)
def test_a_plan_is_said_before_anything_is_loaded(words: str, known: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(*_: object) -> None:
        raise AssertionError("loaded")

    said: list[str] = []
    monkeypatch.setattr("typer.echo", said.append)
    monkeypatch.setattr(references, "read_reference", loaded)
    monkeypatch.setattr(drawing.Drawing, "__init__", loaded)
    monkeypatch.setattr(networks.Networks, "open", loaded)
    with pytest.raises(AssertionError, match="loaded"):
        dimbench("fid", *words.split(), "--plan")
    assert known in "".join(said)
