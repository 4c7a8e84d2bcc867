"""Methods as a user types them: where they cannot act or contradict each other it is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dimbench.methods import fake_quantisation
from tests.console import dimbench, refused

FORA = ("--with", "fora:every=3")
DRAW = ("sample", "dit-digits", "--steps", "4", "--num-images", "2", "--batch", "2")
NOWHERE = ("--reference", "nowhere.npz")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("flops", "dit-s2", "--steps", "4", "--with", "deep"), "it has no long skips; deep wraps U-DiT"),
        (("flops", "dit-s2", "--steps", "4", "--with", "fora:every=0"), "out of range; give 1 or more"),
        (("flops", "dit-s2", "--steps", "4", "--with", "fora", "--with", "taylor"), "exclude each other; give one"),
        (("flops", "dit-s2", "--steps", "4", "--with", "fora", "--with", "fora:every=2"), "given twice; give it once"),
        (("flops", "dit-s2", "--steps", "4", "--with", "fora:every=3,every=4"), "every is set twice; set it once"),
        (("flops", "dit-s2", "--guide", "dit-s4"), "--guide dit-s4 was given without --steps"),
        (("flops", "dit-s2", "--with", "fora"), "give the steps of the sampler with --steps N"),
        (
            ("flops", "dit-s2", "--steps", "4", "--with", "teacache"),
            "values decide what --with teacache:threshold=0.2 leaves",
        ),
        (("flops", "dit-s2", "--with", "teacache"), "--with teacache was given without --steps"),
        (
            ("flops", "dit-s2", "--steps", "4", "--with", "fora:every=99"),
            "fora:every=99 left out every step but the first",
        ),
        (("flops", "dit-s2", "--steps", "4", "--with", "fora+tome"), "give --with fora --with tome"),
        (("flops", "dit-s2", "--steps", "4", "--with", "attention=sage"), "not installed"),
        (("flops", "dit-s2", "--steps", "4", "--cfg", "--guide", "nosuch"), "autoguidance:guide=nosuch names no guide"),
        (("flops", "dit-s2", "--steps", "4", "--cfg", "--guide", ""), "autoguidance names no guide"),
        (("bench", "dit-digits", "--steps", "4", "--with", "fora+tome"), "give --with fora --with tome"),
        (("bench", "dit-digits", "--steps", "4", "--with", "deep"), "deep wraps U-DiT"),
        (("fid", "--model", "dit-digits", *NOWHERE, "--with", "deep"), "deep wraps U-DiT"),
        (("frontier", "dit-digits", *NOWHERE, "--with", "deep"), "deep wraps U-DiT"),
        (("frontier", "dit-digits", *NOWHERE, "--with", "fora+nosuch"), "unknown method"),
        (("frontier", "dit-digits", *NOWHERE, "--out", "/proc/no/f.jsonl"), "cannot write to"),
        (("fid", "--model", "dit-digits", *NOWHERE, "--out", "/proc/no/f.jsonl"), "cannot write to"),
        (("sample", "dit-s2", "--with", "deep"), "deep wraps U-DiT"),
        (("flops", "dit-s2", "--steps", "4", "--with", "interval"), "unguided"),
        (("bench", "dit-digits", "--mode", "train", *FORA), "on sampling runs and not on --mode train"),
        (("bench", "dit-digits", "--mode", "train", "--steps", "4", *FORA), "on sampling runs and not on --mode train"),
        (("bench", "dit-digits", *FORA), "acts from step to step of a sampling run"),
        (("bench", "dit-digits", "--steps", "4", "--compile", *FORA), "--compile does not follow what --with fora"),
        ((*DRAW, "--compile", *FORA), "--compile does not follow what --with fora"),
        ((*DRAW, "--cuda-graph", *FORA), "--cuda-graph does not follow what --with fora"),
        (("fid", "--model", "dit-digits", "--steps", "4", "--compile", *FORA), "--compile does not follow"),
        (("fid", "--real", *FORA), "for images that are drawn"),
        (("fid", "--recipe", "dit-xl2-256-cfg1.5", *FORA), "fixed by the recipe"),
        (("fid", "--recipe", "dit-xl2-256-cfg1.5", "--guide", "dit-s2"), "fixed by the recipe"),
        ((*DRAW, "--with", "attention=sage"), "not installed"),
        ((*DRAW, "--cfg", "1.5", "--guide", "dit-s3"), "unknown model"),
        (("sweep", "batch", "--model", "dit-digits", *FORA), "acts from step to step of a sampling run"),
        (("frontier", "dit-s2", "--steps", "4"), "needs files that are not here"),
        (("frontier", "policy-transformer", "--steps", "4", "--random-weights"), ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_said(words: tuple[str, ...], said: str) -> None:
    ran = dimbench(*words)
    assert ran.code in (1, 2), (ran.code, ran.stderr)
    assert said in " ".join(ran.stderr.split())
    assert "Traceback" not in ran.stderr


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("method", ["first-block", "teacache"])
def test_a_threshold_that_skips_every_step_is_an_error(method: str) -> None:
    assert "left out every call but the first" in refused(1, *DRAW, "--with", f"{method}:threshold=1e9")


def test_a_folder_drawn_by_other_methods_is_refused(tmp_path: Path) -> None:
    words = (*DRAW, "--out", tmp_path / "images")
    assert dimbench(*words, *FORA).code == 0
    assert dimbench(*words, *FORA).code == 0
    said = refused(1, *words)
    assert "another run (methods fora:every=3 there, none here)" in said
    assert "methods" in refused(1, *words, "--with", "fora:every=2")


def test_samples_that_are_not_finite_name_the_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_quantisation, "rounded", lambda x, bits: x * torch.nan)
    assert "samples by --with fake-w4a8 are not finite" in refused(1, *DRAW, "--with", "fake-w4a8")


def test_a_method_is_part_of_the_protocol() -> None:
    words = (
        "fid",
        "--model",
        "dit-digits",
        "--steps",
        "4",
        "--num-images",
        "8",
        "--json",
    )
    protocols = [json.loads(dimbench(*words, *given).stdout)[0]["details"]["protocol"] for given in ((), FORA)]
    assert protocols[0] != protocols[1]


def test_methods_are_listed_with_what_they_lack() -> None:
    listed = {each["name"]: each for each in json.loads(dimbench("methods", "--json").stdout)}
    assert listed["fora"]["settings"] == {"every": 3}
    assert listed["fora"]["missing"] == ""
    assert not listed["fake-w8a8"]["timed"]
    assert "dimbench[quant]" in listed["int8"]["missing"] or not listed["int8"]["missing"]
