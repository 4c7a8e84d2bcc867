from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records and caches of tests go to a folder of their own."""
    monkeypatch.setenv("DIMBENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("DIMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
