from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # each of pytest's processes has a core, before torch asks for all

from dimbench import processor, progress


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records and caches of tests go to a folder of their own."""
    monkeypatch.setenv("DIMBENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DIMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs in this process says nothing of the time it takes, however loaded the machine is."""
    monkeypatch.setattr(progress, "FIRST", 600.0)


@pytest.fixture(autouse=True)
def memory_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process runs thousands of commands, of which each has one of its own else."""
    monkeypatch.setattr(processor, "keep_memory", lambda: None)
