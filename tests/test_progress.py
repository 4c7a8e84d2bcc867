"""What long work says where there is no terminal."""

from __future__ import annotations

import time

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
