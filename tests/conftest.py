from __future__ import annotations

from pathlib import Path

import pytest

from dimbench import progress


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
