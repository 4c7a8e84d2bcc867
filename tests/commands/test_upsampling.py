from __future__ import annotations

import json
from pathlib import Path

import pytest

from dimbench import backbone
from dimbench.models import dim
from tests.console import dimbench, refused


def test_training_free_sizes_are_drawn_with_upsample_guidance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A network of a few weights stands in for DiM-H."""
    small = dim.Config(input_size=8, hidden_size=16, depth=3, sizes=(8,), low_sizes=(4,))
    monkeypatch.setattr(backbone.Registered, "config", small)
    words = (
        "dim-h2",
        "--resolution",
        1024,
        "--random-weights",
        "--steps",
        20,
        "--num-images",
        1,
        "--kernel",
        "reference",
    )
    ran = dimbench("sample", *words, "--out", tmp_path / "large.png", "--json")
    assert ran.code == 0, ran.stderr
    (record,) = json.loads(ran.stdout)
    assert record["metrics"]["network_calls"] == 20 + 7
    assert record["conditions"]["upsampling"] == 2
    assert record["conditions"]["sampler"] == "dpm-solver"


def test_training_free_sizes_take_the_weights_of_512_pixels() -> None:
    for pixels in (512, 1024, 1536):
        assert "DiM-H-512-64k.pth" in refused(1, "sample", "dim-h2", "--resolution", pixels)
    assert "DiM-H-256-625k.pth" in refused(1, "sample", "dim-h2")
