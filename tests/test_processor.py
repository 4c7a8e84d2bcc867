"""How threads wait for each other: what torch's OpenMP is told before it is loaded."""

from __future__ import annotations

import os

import pytest

from dimbench import processor
from tests.console import dimbench


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "5"}, "5"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_threads_sleep_early_unless_the_user_chose(
    given: dict[str, str], told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that what follows is undone
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    processor.share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == told


@pytest.mark.parametrize(
    ("words", "shares"),
    [
        ("sample nosuch", True), ("fid nosuch", True), ("stats nosuch", True), ("train nosuch", True),
        ("bench nosuch", False), ("choose nosuch", False), ("frontier nosuch", False),
    ],
)  # fmt: skip
def test_what_is_timed_runs_as_torch_runs_it(words: str, shares: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(processor, "share_cores", lambda: told.append(words))
    assert dimbench(*words.split()).code == 2
    assert bool(told) == shares
