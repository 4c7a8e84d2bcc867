"""train, as a user types it: at its end, and when the loss runs away."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.console import Ran, dimbench, refused

WORDS = ("train", "dit-digits", "--steps", 6, "--batch", 8, "--save-every", 2, "--out", "w.safetensors")
TOO_HIGH = 1e30  # the first step already throws the weights out of float32's range


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def done(*words: object) -> Ran:
    ran = dimbench(*words)
    assert ran.code == 0, ran.stderr
    return ran


def test_at_its_end_nothing_is_left_to_do() -> None:
    done(*WORDS)
    weights = Path("w.safetensors").read_bytes()
    again = done(*WORDS)
    assert "w.ckpt holds all 6 steps: nothing is left to do." in again.stderr
    assert Path("w.safetensors").read_bytes() == weights
    Path("w.safetensors").unlink()
    done(*WORDS, "--json")
    assert Path("w.safetensors").read_bytes() == weights


def test_a_run_that_diverges_keeps_its_last_good_state_and_its_advice_works() -> None:
    said = refused(1, *WORDS, "--lr", TOO_HIGH)
    assert "diverged; w.ckpt keeps the last good state: start over with a --lr below 1e+30" in said
    assert not Path("w.safetensors").exists()
    state = torch.load("w.ckpt")
    assert all(torch.isfinite(tensor).all() for tensor in state["model"].values())
    again = refused(1, *WORDS, "--lr", TOO_HIGH)
    assert said.splitlines()[-1] == again.splitlines()[-1]  # the bar before it shows seconds
    assert "another lr; give the same, another --to" in refused(1, *WORDS, "--lr", 10 * TOO_HIGH)
    assert "starting over" in done(*WORDS, "--lr", 1e-3).stderr
    weights = Path("w.safetensors").read_bytes()
    Path("w.ckpt").unlink()
    done(*WORDS, "--lr", 1e-3)
    assert Path("w.safetensors").read_bytes() == weights


def test_the_weights_do_not_overwrite_the_checkpoint() -> None:
    assert "is where the checkpoint lies" in refused(2, *WORDS[:-1], "w.ckpt")
