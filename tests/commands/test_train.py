"""train, as a user types it: at its end, and when the loss runs away."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dimbench import presets
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


def limited(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_disk_without_room_is_named_as_the_reason() -> None:
    words = (sys.executable, "-m", "dimbench", *map(str, WORDS))
    ran = subprocess.run(words, capture_output=True, text=True, preexec_fn=lambda: limited(1000))
    assert ran.returncode == 1
    assert "cannot write w.ckpt (File too large); make room there or give another --to" in ran.stderr
    assert not list(Path().iterdir())


@pytest.mark.parametrize("place", ["w.ckpt", "net.py", "folder", "folder.safetensors"])
def test_the_weights_replace_nothing_else(place: str) -> None:
    for folder in ("folder", "folder.safetensors"):
        Path(folder).mkdir()
    Path("net.py").write_text("mine")
    for name in ("dit-digits", "digits-classifier"):
        assert "give a file that ends in .safetensors" in refused(2, "train", name, "--to", place)
    assert Path("net.py").read_text() == "mine"
    assert {path.name for path in Path().iterdir()} == {"folder", "folder.safetensors", "net.py"}


@pytest.mark.parametrize("option", [("--steps", 2), ("--batch", 8), ("--half",), ("--kernel", "reference")])
def test_the_classifier_refuses_what_it_would_not_heed(option: tuple[object, ...]) -> None:
    said = refused(2, "train", "digits-classifier", *option, "--to", "w.safetensors")
    assert f"{option[0]} is for diffusion models" in said
    assert not Path("w.safetensors").exists()


@pytest.mark.parametrize("name", ["net.py:Net", "diffusers:DiTTransformer2DModel", "dit-digits,depth=2", "./folder"])
def test_networks_of_ones_own_are_no_models_of_the_digits(name: str) -> None:
    said = refused(2, "train", name, "--to", "w.safetensors")
    assert f"{name} cannot be trained on the embedded digits; give one of dim-digits" in said


def test_what_is_not_of_the_digits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unfit = {
        "colours": ("dit", "in_channels = 3, num_classes = 10", "(3, 8, 8) of 10 classes"),
        "few": ("dit", "in_channels = 1, num_classes = 5", "(1, 8, 8) of 5 classes"),
        "text": ("pixart", "in_channels = 1", "(1, 8, 8) of no classes"),
        "joint": ("reg", "in_channels = 1, num_classes = 10, cls_token_dim = 4", "(68,) of 10 classes"),
    }
    for name, (family, config, _) in unfit.items():
        Path(f"{name}.toml").write_text(
            f'backbone = "{family}"\nresolution = 8\nlatent_stride = 1\n'
            '[diffusion]\nprocess = "gaussian"\nsampler = "ddpm"\nguided_channels = 0\n'
            f"[variants.{name}]\nconfig = {{ hidden_size = 32, depth = 2, num_heads = 2, {config} }}\n"
        )
    monkeypatch.setenv("DIMBENCH_PRESETS", str(tmp_path))
    presets.all_presets.cache_clear()
    try:
        for name, (_, _, drawn) in unfit.items():
            said = refused(2, "train", name, "--steps", 1, "--batch", 2, "--to", "w.safetensors")
            assert f"{name} draws samples of shape {drawn}, and the embedded digits are of shape (1, 8, 8)" in said
    finally:
        presets.all_presets.cache_clear()
