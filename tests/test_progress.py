"""What long work says where there is no terminal."""

from __future__ import annotations

import importlib
import sys
import time
import types
from pathlib import Path

import pytest

from dimbench import progress


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST", 0.05)
    monkeypatch.setattr(progress, "EVERY", 0.05)


def until(said: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What is on stderr once `said` is in it."""
    text = ""
    for _ in range(400):
        text += capsys.readouterr().err
        if said in text:
            return text
        time.sleep(0.01)
    raise AssertionError(text)


def test_a_line_says_how_far_it_is_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.stepping("drawing", 1000) as steps:
        until("drawing: 0 of 1,000\n", capsys)
        steps(500, "batch 4")
        assert "\x1b" not in until("drawing: 500 of 1,000, batch 4, about ", capsys)


def test_the_time_left_is_of_the_work_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    steps = progress._Steps("comparing", 4, 0)
    now[0] = 400.0
    steps(4)
    steps(0)
    now[0] = 410.0
    steps(1)
    assert steps.says == "comparing: 1 of 4, about 30 s left"


def test_the_line_comes_though_nothing_moves(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.doing("loading the weights"):
        assert until("loading the weights: 0 s\n", capsys)


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "FIRST", 60)
    assert list(progress.track([1, 2, 3], "counting")) == [1, 2, 3]
    with progress.transferring("a file") as moved:
        moved(1, 2)
    assert capsys.readouterr().err == ""


def test_bytes_are_said_with_units(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.transferring("a.pt") as moved:
        moved(1_500_000, 3_000_000)
        until("a.pt: 1.50 MB of 3.00 MB", capsys)


def test_the_innermost_speaks_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.doing("outer"):
        until("outer", capsys)
        with progress.stepping("inner", 3):
            text = until("inner", capsys)
            assert "outer" not in text.partition("inner")[2] + until("inner", capsys)
        until("outer", capsys)


def test_a_slow_import_is_said_while_it_lasts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_module.py").write_text("import slow_gate\nslow_gate.pass_through()\n")
    gate = types.ModuleType("slow_gate")
    gate.pass_through = lambda: until("loading slow_module: 0 s\n", capsys)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "slow_gate", gate)
    monkeypatch.setattr(progress, "SLOW", ("slow_module",))
    monkeypatch.syspath_prepend(tmp_path)
    with progress.slow_imports_said():
        importlib.import_module("slow_module")
    assert "slow_module" in sys.modules
    del sys.modules["slow_module"]
