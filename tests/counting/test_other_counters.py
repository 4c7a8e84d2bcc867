"""Counters that people use, beside ours."""

from __future__ import annotations

import json

import pytest

from dimbench.backbone import find
from dimbench.counting import other_counters
from dimbench.counting.other_counters import Tool, ToolCount
from dimbench.report import counters_beside
from tests.console import dimbench


def of(name: str, found: list[ToolCount]) -> ToolCount:
    return next(each for each in found if each.tool == name)


def test_what_is_installed_counts_a_network_and_one_product_of_each_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> float:
        raise ValueError("no such thing")

    monkeypatch.setitem(other_counters.TOOLS, "broken", Tool("torch", broken))
    found = other_counters.of_network(find("dit-digits"))
    assert [each.tool for each in found] == [*other_counters.installed()]
    torchs, fvcores, failed = of("torch", found), of("fvcore", found), of("broken", found)
    assert 0.9 < (torchs.share or 0) <= 1
    assert torchs.probes["convolution"] == torchs.probes["einsum"] == 1
    assert fvcores.probes["linear on tokens"] == 1
    assert fvcores.probes["attention"] == 0
    assert (failed.macs, failed.failed) == (None, "ValueError: no such thing")
    assert set(failed.probes.values()) == {None}
    shown = counters_beside.table("dit-digits", found, ["thop"])
    row = next(row for row in shown.rows if row[0] == "fvcore")
    assert "attention 0 %" in row[4]
    broken = next(row for row in shown.rows if row[0] == "broken")
    assert broken[3:] == ("failed: ValueError: no such thing", "every one failed")
    assert shown.notes[-1] == "Not installed, so not run: thop."


def test_a_user_sees_figures_of_the_named_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_counters, "TOOLS", {"torch": other_counters.TOOLS["torch"]})
    shown = dimbench("audit", "dit-digits", "--tools").stdout
    assert "multiply-adds of dit-digits" in shown
    (told,) = json.loads(dimbench("audit", "dit-digits", "--tools", "--json").stdout)
    assert (told["model"], told["tool"]) == ("dit-digits", "torch")
