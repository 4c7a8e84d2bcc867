"""sample, fid and train, as a user types them, and what goes wrong on the way."""

from __future__ import annotations

import errno
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dimbench as library
from dimbench import backbone
from dimbench.sampling.grid import _CAPTION, _GAP
from tests.commands.processes import finish, start, wait_for
from tests.console import dimbench, refused

QUICK = ["dit-digits", "sit-digits", "jit-digits", "mmdit-digits"]
TRAINED = [
    *QUICK,
    *(pytest.param(f"{name}-digits", marks=pytest.mark.slow) for name in ("udit", "dim", "dimsum", "uvit")),
]


def tiles(file: Path, columns: int, count: int) -> np.ndarray:
    """The images of a sheet, (count, 64, 64)."""
    page = np.asarray(Image.open(file).convert("L"))
    corners = [
        (_GAP + k // columns * (64 + _CAPTION + _GAP) + _CAPTION, _GAP + k % columns * (64 + _GAP))
        for k in range(count)
    ]
    return np.stack([page[row : row + 64, column : column + 64] for row, column in corners])


@pytest.mark.parametrize("name", TRAINED)
def test_shipped_models_draw_digits_that_the_classifier_knows(name: str, tmp_path: Path) -> None:
    from dimbench.quality.features import create_extractor, extract

    file = tmp_path / "digits.png"
    ran = dimbench("sample", name, "--steps", 25, "--cfg", 1.5, "--num-images", 40, "--out", file)
    assert ran.code == 0, ran.stderr
    drawn = torch.from_numpy(tiles(file, 10, 40)[:, ::8, ::8].copy())[:, None]
    logits = extract(create_extractor("digits-classifier"), [drawn])["logits"]
    right = (logits.argmax(1) == torch.arange(40) % 10).double().mean().item()
    # chance is 0.1; drawn digits of a trained network are nearly all what they are called
    assert right >= 0.8
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["digits.png"]


def test_labels_are_taken_in_turn(tmp_path: Path) -> None:
    ran = dimbench(
        "sample",
        "dit-digits",
        "--steps",
        2,
        "--num-images",
        5,
        "--labels",
        "3,7",
        "--json",
        "--out",
        tmp_path / "a.png",
    )
    (record,) = json.loads(ran.stdout)
    assert record["conditions"]["labels"] == "3,7"
    assert record["metrics"]["network_calls"] == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--steps", 2, "--labels", "11"], "label 11"),
        (["--steps", 2, "--labels", "a"], "--labels 'a'"),
        (["--steps", 1001], "1001"),
        (["--steps", 1], "of 1 step"),
        (["--steps", 2, "--cfg", 0.5], "guidance 0.5"),
        (["--steps", 2, "--sampler", "magic"], "unknown sampler 'magic'"),
        (["--steps", 2, "--out", "a.jpg"], "a.jpg"),
        (["--steps", 2, "--device", "cuda:9"], "device"),
        (["--steps", 2, "--cuda-graph"], "--cuda-graph needs a CUDA device and was given cpu"),
        (["--steps", 2, "--resolution", 9], "patches of 2"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[object], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(2, "sample", "dit-digits", *words)
    assert sentence in said
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("steps", ["0", "-3", "ten"])
def test_steps_must_be_positive(steps: str) -> None:
    assert "--steps" in refused(2, "sample", "dit-digits", "--steps", steps)


def test_published_models_say_what_is_missing() -> None:
    said = refused(1, "fid", "--model", "dit-xl2", "--steps", 250)
    for words in (
        "--weights",
        "DiT-XL-2-256x256.pt",
        "dl.fbaipublicfiles.com",
        "--autoencoder",
        "--reference",
        "VIRTUAL_imagenet256_labeled.npz",
        "--inception",
    ):
        assert words in said, words


def test_a_dry_run_says_that_its_number_means_nothing(tmp_path: Path) -> None:
    ran = dimbench("fid", "--model", "dit-s8", "--steps", 2, "--random-weights", "--num-images", 8, "--json")
    (record,) = json.loads(ran.stdout)
    assert record["metrics"]["fid"] > 0
    assert any("means nothing" in warning for warning in record["warnings"])


@pytest.mark.parametrize("command", ["sample", "fid", "frontier", "fid-lottery"])
def test_a_dry_run_takes_no_weights(command: str) -> None:
    said = refused(2, command, "dit-digits", "--steps", 2, "--random-weights", "--weights", "none.pt")
    assert said == "dimbench: --weights none.pt and --random-weights contradict each other; leave one out\n"


def test_nan_weights_are_named_not_drawn(tmp_path: Path) -> None:
    model = library.create_model("dit-digits")
    state = model.state_dict()
    state["blocks.2.mlp.fc1.bias"][3] = float("nan")
    torch.save(state, tmp_path / "nan.pt")
    said = refused(
        1, "sample", "dit-digits", "--steps", 2, "--weights", tmp_path / "nan.pt", "--out", tmp_path / "a.png"
    )
    assert "blocks.2.mlp.fc1.bias" in said
    assert not (tmp_path / "a.png").exists()


def test_an_unwritable_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refused(1, "sample", "dit-digits", "--steps", 2, "--num-images", 2, "--out", tmp_path / "file" / "a.png")
    assert "cannot write" in said


SAMPLE = ["sample", "dit-digits", "--steps", 40, "--num-images", 40, "--batch", 4, "--out", "a.png"]


@pytest.mark.slow
def test_an_interrupted_run_keeps_its_images_and_goes_on(tmp_path: Path) -> None:
    part = tmp_path / "a.png.part"
    process = start(tmp_path, *SAMPLE)
    wait_for(lambda: len(list(part.glob("shards/*.npy"))) > 2, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    kept = list(part.glob("shards/*.npy"))
    assert f"interrupted; {4 * len(kept)} images are kept in a.png.part: the same command goes on from there" in said
    assert not (tmp_path / "a.png").exists()
    assert not (tmp_path / "records.jsonl").exists()
    again = start(tmp_path, *SAMPLE)
    finish(again)
    assert not part.exists()
    whole = tmp_path / "whole"
    whole.mkdir()
    fresh = start(whole, *SAMPLE)
    finish(fresh)
    assert (whole / "a.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    assert 2 < len(kept) < 10


def test_a_full_disk_keeps_the_images_drawn_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, written = np.save, []

    def full_after_three(file: object, values: np.ndarray) -> None:
        written.append(values)
        if len(written) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, values)

    words = ["sample", "dit-digits", "--steps", 2, "--num-images", 20, "--batch", 4, "--out", tmp_path / "a.png"]
    monkeypatch.setattr(np, "save", full_after_three)
    said = refused(1, *words)
    assert "No space left on device" in said
    assert "the 12 images drawn before are kept" in said
    assert dimbench(*words).code == 0
    assert len(written) == 6
    assert not (tmp_path / "a.png.part").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_place_in_the_cache_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMBENCH_CACHE", "/dev/full/cache")
    said = refused(1, "fid", "dit-digits", "--steps", 2, "--num-images", 8)
    assert "; set DIMBENCH_CACHE to another folder" in said
    assert "--to" not in said


@pytest.mark.slow
def test_training_is_interrupted_and_goes_on(tmp_path: Path) -> None:
    words = ["train", "dit-digits", "--steps", 30, "--batch", 8, "--save-every", 5, "--out", "w.safetensors"]
    process = start(tmp_path, *words)
    checkpoint = tmp_path / "w.ckpt"
    wait_for(lambda: checkpoint.exists(), process)
    first = checkpoint.stat().st_mtime_ns
    wait_for(lambda: checkpoint.stat().st_mtime_ns != first, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (130, 0), said  # 0 if it was through before the signal came
    assert ("interrupted; w.ckpt holds " in said) is (process.returncode == 130)
    assert "Traceback" not in said
    again = start(tmp_path, *words)
    finish(again)
    whole = tmp_path / "whole"
    whole.mkdir()
    fresh = start(whole, *words)
    finish(fresh)
    assert (whole / "w.safetensors").read_bytes() == (tmp_path / "w.safetensors").read_bytes()


def test_only_digits_models_can_be_trained() -> None:
    assert "dit-digits" in refused(2, "train", "dit-xl2")


def test_real_digits_give_the_floor() -> None:
    (record,) = json.loads(dimbench("fid", "--real", "--json").stdout)
    assert record["model"] == "real digits"
    assert 0 < record["metrics"]["fid"] < 2


@pytest.mark.parametrize(("name", "label"), [("dim-s2", 10), ("dit-digits", 0)])
def test_a_network_trained_without_labels_draws_without(name: str, label: int) -> None:
    from dimbench.sampling.request import Request

    request = Request(backbone=backbone.find(name), num_images=2, steps=2, batch=1, random_weights=True)
    assert request.label_rule is not None
    assert request.label_rule(0) == label


@pytest.mark.parametrize("words", ["sample dit-digits --steps 2 --num-images 2", "plot gflops-fid dit-s2 dit-b2"])
def test_nothing_is_written_here_unasked(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, here = tmp_path / "own", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("DIMBENCH_RESULTS", str(place))
    ran = dimbench(*words.split())
    assert ran.code == 0, ran.stderr
    assert not list(here.iterdir())
    (picture,) = place.glob("*.png")
    assert str(picture) in " ".join((ran.stdout + ran.stderr).split())


def test_files_that_are_asked_for_lie_in_the_usual_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMBENCH_RESULTS", str(tmp_path))
    few = ("--steps", 2, "--num-images", 2)
    for name, form, file in (("dit-digits", "png", "000001.png"), ("policy-pusht", "npz", "samples.npz")):
        assert dimbench("sample", name, *few, "--as", form, "--random-weights").code == 0
        assert (tmp_path / "samples" / name / file).is_file()
    assert "no pictures, and --as png" in refused(2, "sample", "policy-pusht", *few, "--as", "png", "--random-weights")


def test_several_models_have_a_folder_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIMBENCH_RESULTS", str(tmp_path))
    ran = dimbench("sample", "dit-digits", "j?t-digits", "--steps", 2, "--num-images", 2, "--as", "png", "--json")
    assert [record["model"] for record in json.loads(ran.stdout)] == ["dit-digits", "jit-digits"]
    folders = [tmp_path / "samples" / name for name in ("dit-digits", "jit-digits")]
    assert [len(list(folder.glob("*.png"))) for folder in folders] == [2, 2]
    assert "one sheet" in refused(2, "sample", "dit-digits", "sit-digits", "--to", "a.png")
    assert "cannot fit 2 models" in refused(2, "sample", "dit-digits", "sit-digits", "--weights", "w.pt")
