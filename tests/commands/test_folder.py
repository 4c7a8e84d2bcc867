"""sample into a folder: what is in it, and that nothing that happens on the way changes a byte."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dimbench import backbone, results
from dimbench.data.pixels import to_uint8
from dimbench.sampling import autoencoder, drawing
from dimbench.sampling.request import Request
from dimbench.sampling.shards import Shards
from tests.commands.processes import finish, start
from tests.console import Ran, dimbench, refused
from tests.sampling.autoencoders import old_layout, small

DIGITS = ("sample", "dit-digits", "--steps", 4, "--cfg", 1.5, "--batch", 4)


def sample(out: Path, count: int, *words: object) -> Ran:
    ran = dimbench(*DIGITS, "--num-images", count, "--out", out, *words)
    assert ran.code == 0, ran.stderr
    return ran


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a run by its name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def arr_0(folder: Path, file: str = "samples.npz") -> np.ndarray:
    with np.load(folder / file) as archive:
        assert archive.files == ["arr_0"]
        return archive["arr_0"]


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images in batches of four."""
    folder = tmp_path_factory.mktemp("ten") / "run"
    sample(folder, 10)
    return folder


def test_the_npz_is_that_of_the_official_suite(ten: Path) -> None:
    images = arr_0(ten)
    assert (images.shape, images.dtype) == ((10, 8, 8, 3), np.uint8)
    assert len({image.tobytes() for image in images}) == 10
    assert (images == images[..., :1]).all()  # digits are grey


def test_pngs_are_named_and_filled_as_the_official_scripts_do(ten: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(ten, folder)
    sample(folder, 10, "--format", "png")
    names = sorted(path.name for path in folder.glob("*.png"))
    assert names == [f"{k:06d}.png" for k in range(10)]
    assert (np.stack([np.asarray(Image.open(folder / name)) for name in names]) == arr_0(ten)).all()
    said = refused(2, *DIGITS, "--num-images", 5, "--out", folder, "--format", "png")
    assert "holds more than 5 PNGs" in said


def test_a_longer_run_keeps_what_is_there(ten: Path, tmp_path: Path) -> None:
    longer, whole = tmp_path / "longer", tmp_path / "whole"
    sample(longer, 3)
    before = {path.name: path.stat().st_mtime_ns for path in (longer / "shards").iterdir()}
    sample(longer, 23)
    sample(whole, 23)
    assert contents(longer) == contents(whole)
    assert arr_0(longer)[:10].tobytes() == arr_0(ten).tobytes()
    assert {name: (longer / "shards" / name).stat().st_mtime_ns for name in before} == before


def test_the_plan_says_what_a_longer_run_draws_and_writes_nothing(ten: Path) -> None:
    before = sorted(ten.rglob("*"))
    ran = sample(ten, 14, "--plan")
    for words in ("dit-digits.safetensors, 4.25 MB", "14 of 8 x 8 pixels", "16 in all, of 4 images each"):
        assert words in ran.stdout
    assert "there          3 of 4 batches, which are not drawn again" in ran.stdout
    assert f"disk           2.94 kB in {ten}, once as shards and once as npz" in ran.stdout
    assert sorted(ten.rglob("*")) == before
    other = dimbench(*DIGITS, "--num-images", 14, "--seed", 9, "--to", ten, "--plan")
    assert "seed 0 there, 9 here" in other.stderr


def test_a_published_model_is_planned_without_its_files(tmp_path: Path) -> None:
    words = ("sample", "dit-s8", "--num-images", 3, "--steps", 7, "--cfg", 2, "--to", tmp_path / "a.png", "--plan")
    said = dimbench(*words).stdout
    assert said.count("missing        --") == 2
    assert "7 per image, each of two passes (guided)" in said
    assert "decoding not measured" in said
    assert "a.png.part while it runs" in said
    dry = dimbench(*words, "--random-weights").stdout
    assert "missing" not in dry
    assert "decoding not measured" not in dry


def test_a_damaged_shard_is_made_again(ten: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(ten, folder)
    damaged = sorted((folder / "shards").iterdir())[1]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (record,) = json.loads(sample(folder, 10, "--json").stdout)
    assert record["details"]["fresh_images"] == 4
    assert contents(folder) == contents(ten)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--seed", 1], "seed 0 there, 1 here"),
        (["--steps", 5], "steps 4 there, 5 here"),
        (["--batch", 5], "images_per_shard 4 there, 5 here"),
        (["--labels", "random"], "labels balanced there, random here"),
        (["--dtype", "bf16"], "dtype fp32 there, bf16 here"),
    ],
)
def test_a_folder_of_another_run_is_refused(ten: Path, words: list[object], sentence: str) -> None:
    before = contents(ten)
    assert sentence in refused(1, *DIGITS, "--num-images", 10, "--out", ten, *words)
    assert contents(ten) == before


def test_a_folder_of_another_model_is_refused(ten: Path) -> None:
    said = refused(1, "sample", "sit-digits", "--steps", 4, "--batch", 4, "--num-images", 10, "--out", ten)
    assert "model dit-digits there, sit-digits here" in said


def test_two_runs_into_one_folder_are_refused(ten: Path) -> None:
    manifest = json.loads((ten / "manifest.json").read_text())
    identity = {key: value for key, value in manifest.items() if not key.startswith("image")}
    with Shards(ten, identity, 4, (1, 8, 8)).claimed():
        said = refused(1, *DIGITS, "--num-images", 10, "--out", ten)
    assert "another run is drawing into" in said
    assert said.count("\n") == 1


def test_too_little_room_is_known_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(1500))
    said = refused(1, *DIGITS, "--num-images", 10, "--out", tmp_path / "run")
    assert "has 1.50 kB free and the images take 2.69 kB" in said  # 3 batches of 4 images of 64 bytes, 10 of 192
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(2688))
    sample(tmp_path / "run", 10)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "a.png", "--format", "png"], "names a sheet"),
        (["--out", "a.npz"], "neither a PNG nor a folder"),
        (["--out", "a", "--labels", "rnd"], "--labels 'rnd'"),
        (["--out", "a", "--labels", "random,1"], "--labels 'random,1'"),
        (["--out", "a", "--dtype", "tf32"], "mode of CUDA devices"),
        (["--out", "a", "--format", "gif"], "gif"),
        (["--out", "a", "--format", "latents"], "draws pixels and has no latents"),
        (["--out", "a", "--autoencoder", "ft-mse"], "has nothing to decode"),
    ],
)
def test_bad_options_are_refused_before_anything_is_made(
    words: list[object], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(2, *DIGITS, "--num-images", 2, *words)
    assert not (tmp_path / "a").exists()


LATENT = ("sample", "dit-s8", "--random-weights", "--resolution", 64, "--steps", 2, "--num-images", 3, "--batch", 2)


def test_every_layout_of_an_autoencoder_decodes_to_the_same_files(tmp_path: Path) -> None:
    network = small()
    network.save_pretrained(tmp_path / "vae")
    torch.save({"state_dict": old_layout(network.state_dict())}, tmp_path / "vae.ckpt")
    ran = dimbench(*LATENT, "--autoencoder", tmp_path / "vae", "--out", tmp_path / "a", "--json")
    (record,) = json.loads(ran.stdout)
    assert record["metrics"]["decode_seconds"] > 0
    assert record["metrics"]["decode_macs"] > 0
    assert record["conditions"]["autoencoder"] == autoencoder.Autoencoder(network).fingerprint
    assert dimbench(*LATENT, "--autoencoder", tmp_path / "vae.ckpt", "--out", tmp_path / "b").code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert dimbench(*LATENT, "--format", "latents", "--out", tmp_path / "c").code == 0
    said = refused(1, *LATENT, "--format", "latents", "--out", tmp_path / "a")
    assert "image_dtype uint8 there, float32 here" in said
    latents = torch.from_numpy(arr_0(tmp_path / "c", "latents.npz"))
    pixels = (127.5 * network.decode(latents / 0.18215).sample + 128).clamp(0, 255).permute(0, 2, 3, 1)
    # a value that rounding carries over a whole number is one byte further
    assert (pixels.byte().int() - torch.from_numpy(arr_0(tmp_path / "a")).int()).abs().max() <= 1


def test_the_autoencoder_of_another_network_is_refused(tmp_path: Path) -> None:
    small(levels=3).save_pretrained(tmp_path / "vae")
    said = refused(1, *LATENT, "--autoencoder", tmp_path / "vae", "--out", tmp_path / "a")
    assert "one side per 4 pixels" in said
    (tmp_path / "other").mkdir()
    said = refused(1, *LATENT, "--autoencoder", tmp_path / "other", "--out", tmp_path / "a")
    assert "other holds no autoencoder" in said
    torch.save({"blocks.0": torch.ones(1)}, tmp_path / "other.pt")
    said = refused(1, *LATENT, "--autoencoder", tmp_path / "other.pt", "--out", tmp_path / "a")
    assert "other.pt holds no autoencoder that can be used" in said
    said = refused(2, *LATENT, "--autoencoder", "ft-ema", "--format", "latents", "--out", tmp_path / "a")
    assert "latents are kept as they are" in said
    assert "there is no autoencoder nothing" in refused(2, *LATENT, "--autoencoder", "nothing")
    assert "ft-mse" in refused(1, *LATENT, "--autoencoder", "ft-mse")
    assert not (tmp_path / "a").exists()


def request(**settings: Any) -> Request:
    return Request(backbone=backbone.find("dit-digits"), num_images=10, steps=4, cfg=1.5, **{"batch": 4, **settings})


def test_images_stream_without_being_written_or_kept(ten: Path) -> None:
    ready = drawing.Drawing(request())
    stream = ready.stream()
    first = next(stream)
    assert ready.drawn.fresh == 4
    whole = torch.cat([first, *stream])
    assert (whole.permute(0, 2, 3, 1).numpy() == arr_0(ten)[..., :1]).all()


def test_a_stream_takes_up_what_a_store_holds(ten: Path) -> None:
    ready = drawing.Drawing(request(extendable=True))
    store = ready.store(ten)
    with store.claimed():
        images = torch.cat(list(ready.stream(store)))
    assert ready.drawn.fresh == 0
    assert (images.permute(0, 2, 3, 1).numpy() == arr_0(ten)[..., :1]).all()


def test_bfloat16_draws_nearly_the_same(ten: Path, tmp_path: Path) -> None:
    sample(tmp_path / "run", 10, "--dtype", "bf16")
    apart = np.abs(arr_0(tmp_path / "run").astype(int) - arr_0(ten))
    assert 0 < apart.mean() < 8  # of 256 steps, after four network calls with 0.4 % rounding; another seed: 70


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")


@pytest.mark.slow
def test_two_or_three_processes_make_the_same_files(ten: Path, tmp_path: Path) -> None:
    words = (*DIGITS, "--num-images", 10, "--out", "run", "--json")
    (record,) = json.loads(finish(start(tmp_path, "2", "-m", "dimbench", *words, python=TORCHRUN)))
    assert record["details"] == {"processes": 2, "fresh_images": 10, "autoencoder": None, "file": "run/samples.npz"}
    run = tmp_path / "run"
    assert contents(run) == contents(ten)
    for of_a_dead_rank in sorted((run / "shards").iterdir())[1::2]:
        of_a_dead_rank.unlink()
    (run / "samples.npz").unlink()
    (record,) = json.loads(finish(start(tmp_path, "3", "-m", "dimbench", *words, python=TORCHRUN)))
    assert record["details"]["fresh_images"] == 4
    assert contents(run) == contents(ten)


def test_models_are_shared_out_among_jobs(tmp_path: Path) -> None:
    words = ("sample", "dit-digits", "sit-digits", "uvit-digits", "--steps", 2, "--num-images", 3, "--to", tmp_path)
    parts = [tmp_path / f"{part}.jsonl" for part in (1, 2)]
    for part, file in enumerate(parts, start=1):
        assert dimbench(*words, "--shard", f"{part}/2", "--out", file).code == 0
    models = [[record["model"] for record in results.read(file)] for file in parts]
    drawn = [name for part in models for name in part]
    assert all(models)
    assert sorted(drawn) == ["dit-digits", "sit-digits", "uvit-digits"]
    assert all((tmp_path / name / "samples.npz").is_file() for name in drawn)
    for _ in range(2):  # a second time adds nothing
        assert dimbench("merge", *parts, "--out", tmp_path / "all.jsonl").code == 0
        assert len(results.read(tmp_path / "all.jsonl")) == 3
    before = parts[1].read_bytes()
    assert "cannot hold the whole; give another file with --out" in refused(2, "merge", *parts, "--out", parts[1])
    assert parts[1].read_bytes() == before
    assert "of 3 rows" in refused(1, "merge", parts[0], "--out", tmp_path / "some.jsonl")


KILLER = """
import os, random, signal, sys, time
import numpy, torch
from dimbench.cli import main

place, runs = sys.argv.pop(1), random.Random(7)
sys.argv[0] = "dimbench"

def files():
    return {os.path.join(path, name) for path, _, names in os.walk(place) for name in names}

for kill in range(6):
    before, child = files(), os.fork()
    if not child:
        main()
        os._exit(0)
    while not (ended := os.waitpid(child, os.WNOHANG)[0]) and files() == before:
        time.sleep(0.001)
    if ended or kill == 5:
        break
    time.sleep(runs.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print(sum(name.endswith(".npy") for name in files()))
if not ended:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.slow
def test_killed_at_any_moment_no_image_is_lost_or_drawn_twice(tmp_path: Path) -> None:
    words = (*DIGITS, "--num-images", 32, "--out", "run")
    printed = finish(start(tmp_path, "run", *words, python=("-c", KILLER)))
    shards = [int(line) for line in printed.splitlines() if line.isdigit()]
    assert len(shards) >= 3, printed
    assert shards == sorted(shards)
    sample(tmp_path / "whole", 32)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("name", "shape"),
    [("policy-pusht,n_layer=1", (16, 2)), ("dit3d-s4,depth=1,hidden_size=24,num_heads=2", (3, 32, 32, 32))],
)
def test_what_is_no_picture_is_kept_as_numbers(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    out = tmp_path / "f"
    drawn = dimbench("sample", name, "--random-weights", "--steps", 2, "--num-images", 2, "--batch", 2, "--out", out)
    assert drawn.code == 0, drawn.stderr
    assert "are no pictures: they are numbers, in arr_0" in drawn.stdout
    array = np.load(out / "samples.npz")["arr_0"]
    assert (array.shape, array.dtype) == ((2, *shape), np.float32)
    assert np.isfinite(array).all()


LATTE = [
    word
    for setting in ("num_layers=1", "num_attention_heads=2", "attention_head_dim=12", "cross_attention_dim=24")
    for word in ("--set", setting)
]
CLIPS = ("latte-1", *LATTE, "--set", "video_length=3", "--frames", 3, "--resolution", 32, "--random-weights")


def test_clips_are_decoded_frame_by_frame_where_their_autoencoder_is_of_pictures(tmp_path: Path) -> None:
    small().save_pretrained(tmp_path / "vae")
    words = ("sample", *CLIPS, "--steps", 2, "--batch", 2)
    for out, more in {"clips": ("--autoencoder", tmp_path / "vae"), "dry": (), "bare": ("--as", "latents")}.items():
        ran = dimbench(*words, "--num-images", 3, "--to", tmp_path / out, *more)
        assert ran.code == 0, ran.stderr
    clips, latents = arr_0(tmp_path / "clips"), arr_0(tmp_path / "bare", "latents.npz")
    assert (clips.shape, clips.dtype, latents.shape) == ((3, 3, 32, 32, 3), np.uint8, (3, 4, 3, 4, 4))
    assert (arr_0(tmp_path / "dry").shape, arr_0(tmp_path / "dry").dtype) == (clips.shape, np.uint8)
    decode = autoencoder.Autoencoder(small()).decode
    for frame in range(3):
        alone = to_uint8(decode(torch.from_numpy(latents[:, :, frame]))).permute(0, 2, 3, 1)
        # a frame decoded among others may be rounded to the level beside
        assert torch.allclose(torch.from_numpy(clips[:, frame]).float(), alone.float(), rtol=0, atol=1)
    longer = dimbench(
        *words, "--num-images", 4, "--to", tmp_path / "clips", "--autoencoder", tmp_path / "vae", "--plan"
    )
    assert "4 of 3 frames of 32 x 32 pixels" in longer.stdout + longer.stderr
    assert f"{4 * 3 * 3 * 32 * 32 / 1000:.2f} kB in" in longer.stdout + longer.stderr


def test_clips_of_an_autoencoder_of_clips_stay_latents(tmp_path: Path) -> None:
    words = (
        "sample",
        "wan2.1-1.3b",
        "--set",
        "num_layers=1",
        "--frames",
        5,
        "--resolution",
        "32x32",
        "--random-weights",
    )
    ran = dimbench(*words, "--steps", 2, "--num-images", 1, "--batch", 1, "--to", tmp_path / "f")
    assert "stay latents, for their autoencoder is one of clips" in ran.stdout
    assert (arr_0(tmp_path / "f").shape, arr_0(tmp_path / "f").dtype) == ((1, 16, 2, 4, 4), np.float32)


@pytest.mark.parametrize("name", [CLIPS, ("policy-pusht", "--random-weights")])
@pytest.mark.parametrize("words", [("sample", "--to", "a.png"), ("fid",)])
def test_no_sheet_and_no_fid_of_what_is_no_picture(words: tuple[str, ...], name: tuple[Any, ...]) -> None:
    assert "no pictures" in refused(2, *words, *name, "--steps", 2)
