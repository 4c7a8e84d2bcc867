"""bench in a fresh process of a side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from dimbench import preset_files
from dimbench.comparing import checkouts
from dimbench.comparing.checkouts import Side


def test_presets_of_the_folder_are_those_of_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dimbench.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    seen: dict[str, str] = {}

    def ran(words: list[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
        seen.update(environment)
        return 0, "[]", ""

    monkeypatch.setattr(checkouts, "_run", ran)
    checkouts.bench(Side("a", Path("/elsewhere"), ()), "my-net", 1.0)
    assert seen[preset_files.ENVIRONMENT] == str(tmp_path / "dimbench.toml")
