"""How far each choice of an evaluation moves its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dimbench import verbs
from dimbench.comparing.choices import choices, measure
from dimbench.quality.evaluating import ToDraw
from tests.console import dimbench, refused
from tests.quality.test_representations import saved


def task(name: str = "sit-digits", **settings: object) -> ToDraw:
    asked = {"num_images": 24, "steps": 4, "cfg": 1.5, "repeats": 2, "keep": False, **settings}
    found = verbs.fid_task(name, **asked)  # type: ignore[arg-type]
    assert isinstance(found, ToDraw)
    return found


def test_choices_are_those_that_the_network_leaves_open() -> None:
    found, without = choices(task())
    assert [(each.what, each.usual, each.instead) for each in found] == [
        ("labels", "balanced", "random"),
        ("ODE or SDE", "heun2", "sde-euler"),
        ("passes", "4 steps", "2 steps"),
        ("passes", "4 steps", "8 steps"),
        ("images", "24", "12"),
    ]
    assert without[0] == "Guided channels: it has 1 in all."
    assert next(each.instead for each in choices(task("dit-digits"))[0] if each.what == "ODE or SDE") == "ddim"
    assert [each.instead for each in choices(task(steps=3))[0] if each.what == "passes"] == ["6 steps"]
    jit, said = choices(task("jit-digits", labels="random"))
    assert jit[0].instead == "balanced"
    assert "heun has no counterpart" in said[0]


@pytest.mark.slow
def test_each_moves_its_figures_from_the_same_seeds() -> None:
    chance, *rows = measure(task())
    assert chance.metrics["fid_low"] == -(chance.metrics["fid_high"] or 0) < 0
    usual = chance.samples["fid"]
    for row in rows:
        moved = [b - a for a, b in zip(usual, row.samples["fid"], strict=True)]
        assert row.metrics["fid_change"] == pytest.approx(sum(moved) / 2)
        assert (row.metrics["fid_low"] or 0) < sum(moved) / 2 < (row.metrics["fid_high"] or 0)
    alone = verbs.fid("sit-digits", num_images=24, steps=4, cfg=1.5, seed=1)[0]
    assert usual[1] == pytest.approx(alone.metrics["fid"])


def test_a_user_sees_them(tmp_path: Path) -> None:
    words = ["fid-lottery", "dit-digits", "--num-images", 12, "--steps", 2, "--repeats", 2]
    shown = dimbench(*words, "--out", tmp_path / "lottery.jsonl").stdout
    assert all(text in shown for text in ("another seed", "random", "ddim", "Guided channels: it has 1 in all."))
    assert "not measured" in shown  # IS of 6 images
    lines = (tmp_path / "lottery.jsonl").read_text().splitlines()
    assert [json.loads(line)["conditions"]["choice"] for line in lines][:2] == ["chance", "labels"]
    assert "repeats" in refused(2, *words[:-1], 1)


def test_another_extractors_distance_takes_the_place_of_fid(tmp_path: Path) -> None:
    weights = saved("fdr-convnextv2-b", tmp_path / "weights")
    words = ["fid-lottery", "dit-digits", "--num-images", 12, "--steps", 2, "--repeats", 2]
    shown = dimbench(*words, "--extractor", f"fdr-convnextv2-b:{weights}", "--out", tmp_path / "lottery.jsonl").stdout
    assert "FD-ConvNeXtV2 moved by" in shown
    assert "FID" not in shown
