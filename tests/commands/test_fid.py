"""fid, stats and recipes as a user types them; images that need Inception go through a small network in its place."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dimbench import backbone, methods, paths, presets, results, verbs
from dimbench.errors import UsageError
from dimbench.files import digest
from dimbench.names import folded
from dimbench.quality import features, repeating
from dimbench.quality import plan as planning
from dimbench.quality.evaluate import evaluate
from dimbench.quality.networks import Against
from dimbench.quality.protocol import protocol
from dimbench.quality.summary import summary_of
from dimbench.sampling.drawing import Drawing
from dimbench.sampling.request import Request
from dimbench.weights import catalog
from tests.console import dimbench, refused
from tests.quality.sets import digit_features, digit_images
from tests.quality.test_images import pixels, write_folder

SMALL = ["fid", "--model", "dit-digits", "--steps", 2, "--num-images", 12, "--batch", 5]


class Small:
    """Twelve features, ten logits and five spatial features of images of any size."""

    name = "inception-v3-compat"
    resize, distance = "4 x 4", "fid"

    def __init__(self, weights: Path, device: object) -> None:
        self.sha256 = digest(weights)
        generator = torch.Generator().manual_seed(0)
        self.mixing = torch.randn(48, 27, generator=generator, dtype=torch.float64)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        small = torch.nn.functional.adaptive_avg_pool2d(images.double(), 4).flatten(1) / 255
        pool, logits, spatial = (small @ self.mixing).split((12, 10, 5), dim=1)
        return {"pool": pool, "logits": logits, "spatial": spatial}


@pytest.fixture
def inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(features.EXTRACTORS, Small.name, Small)
    weights = tmp_path / "inception.pth"
    weights.write_bytes(b"weights")
    return weights


def records(*words: object) -> list[dict[str, Any]]:
    ran = dimbench(*words, "--json")
    assert ran.code == 0, ran.stderr
    found: list[dict[str, Any]] = json.loads(ran.stdout)
    return found


def nhwc(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


def test_an_interrupted_stream_says_that_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Drawing, store: object = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Drawing, "stream", interrupted)
    ran = dimbench(*SMALL, "--stream")
    assert ran.code == 130
    assert ran.stderr.count("interrupted; --stream keeps no image") == 1


def test_interrupted_looking_at_images_says_that_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Against, "evaluate_images", interrupted)
    ran = dimbench("fid", "--images", write_folder(tmp_path / "real", nhwc(digit_images("train")[:20])))
    assert ran.code == 130
    assert ran.stderr.count("interrupted; features of images that lie there are not kept: the same command begins") == 1


def test_a_folder_and_an_npz_give_the_figures_of_their_images(tmp_path: Path) -> None:
    images = nhwc(digit_images("train")[:60])
    np.savez(tmp_path / "real.npz", arr_0=images)
    train = {name: rows[:60] for name, rows in digit_features("train").items()}
    expected = evaluate(summary_of(train), summary_of(digit_features("held-out"))).metrics
    for place in (write_folder(tmp_path / "real", images), tmp_path / "real.npz"):
        (found,) = records("fid", "--images", place)
        assert found["metrics"] == pytest.approx(expected, rel=1e-9)
        assert found["conditions"]["num_images"] == 60


def test_images_are_compared_with_an_adm_reference_in_all_metrics(tmp_path: Path, inception: Path) -> None:
    reference, drawn = pixels(300, 16), pixels(200, 16)[::-1] // 2
    np.savez(tmp_path / "images.npz", arr_0=reference)
    assert dimbench("stats", tmp_path / "images.npz", "--out", tmp_path / "s.npz", "--inception", inception).code == 0
    with np.load(tmp_path / "s.npz") as made:
        statistics = {name: made[name] for name in ("mu", "sigma", "mu_s", "sigma_s")}
    np.savez(tmp_path / "VIRTUAL.npz", arr_0=reference, **statistics)
    given = ["fid", "--images", write_folder(tmp_path / "drawn", drawn), "--inception", inception, "--reference"]
    found = [records(*given, tmp_path / name)[0] for name in ("VIRTUAL.npz", "s.npz", "images.npz")]
    assert list(found[0]["metrics"]) == [
        "fid", "fid_error", "fid_infinity", "sfid", "is_mean", "is_std", "kid_mean", "kid_std", "mind",
        "precision", "recall",
    ]  # fmt: skip
    assert found[0]["metrics"]["fid"] > 0.01
    for other in found[1:]:
        assert other["metrics"] == pytest.approx(found[0]["metrics"], rel=1e-6)  # features kept in their own precision


def test_stats_keeps_as_many_features_as_it_is_told(tmp_path: Path) -> None:
    images = write_folder(tmp_path / "images", nhwc(digit_images("train")[:100]))
    for keep, names in ((0, set()), (20, {"pool"})):
        ran = dimbench("stats", images, "--out", tmp_path / "ref.npz", "--features", keep)
        assert ran.code == 0, ran.stderr
        with np.load(tmp_path / "ref.npz") as made:
            assert set(made.files) & {"pool"} == names
            assert made["n"] == 100
            assert made["size"].tolist() == [8, 8]
            assert len(made["pool"] if keep else []) == keep
    (found,) = records("fid", "--images", images, "--reference", tmp_path / "ref.npz")
    assert found["metrics"]["fid"] == pytest.approx(0, abs=1e-6)
    assert found["conditions"]["reference_images"] == 100


def test_a_record_says_its_whole_protocol() -> None:
    (record,) = records(*SMALL, "--labels", "random")
    said = record["conditions"]
    expected = {
        "extractor": "digits-classifier", "resize": "none", "uint8": "127.5 x + 128, clamped, fraction cut off",
        "reference": "held-back digits", "reference_images": 503, "num_images": 12, "labels": "random",
        "sampler": "ddpm", "steps": 2, "cfg": 1.0, "autoencoder": None, "dtype": "fp32", "seed": 0, "resolution": 8,
    }  # fmt: skip
    assert {name: said[name] for name in expected} == expected
    for name in ("extractor_sha256", "reference_sha256", "weights"):
        assert len(said[name]) == 16, name
    assert len(record["details"]["protocol"]) == 8


@pytest.mark.slow
def test_streaming_and_keeping_give_the_same_images() -> None:
    kept, streamed = records(*SMALL)[0], records(*SMALL, "--stream")[0]
    assert kept["details"] == streamed["details"]
    assert kept["metrics"]["fid"] == streamed["metrics"]["fid"]


@pytest.mark.parametrize("form", ["npz", "png"])
@pytest.mark.slow
def test_a_folder_that_sample_filled_has_the_protocol_of_drawing(form: str, tmp_path: Path) -> None:
    (drawn,) = records(*SMALL)
    folder = tmp_path / "drawn"
    assert dimbench("sample", *SMALL[2:], "--out", folder, "--format", form).code == 0
    (found,) = records("fid", "--images", folder)
    assert found["model"] == "dit-digits"
    assert found["details"] == drawn["details"]
    assert found["conditions"]["weights"] == drawn["conditions"]["weights"]
    untrained = tmp_path / "untrained"
    assert dimbench("sample", *SMALL[2:], "--out", untrained, "--random-weights").code == 0
    assert "random weights" in records("fid", "--images", untrained)[0]["warnings"][0]


def drawn_folder(folder: Path, *words: object) -> Path:
    assert dimbench("sample", *SMALL[2:], "--out", folder, "--format", "png", *words).code == 0
    return folder


def reported(folder: Path) -> tuple[str, int, bool]:
    """The model, the images, and whether it was said that the manifest does not hold."""
    (found,) = records("fid", "--images", folder)
    doubted = any("manifest.json says that dit-digits drew these images" in said for said in found["warnings"])
    assert ("steps" in found["conditions"]) != doubted
    return found["model"], found["conditions"]["num_images"], doubted


def test_a_folder_of_other_images_is_not_reported_as_the_models(tmp_path: Path) -> None:
    folder = drawn_folder(tmp_path / "drawn")
    assert reported(folder) == ("dit-digits", 12, False)
    (folder / "000011.png").unlink()
    assert reported(folder) == ("dit-digits", 11, False)  # as if 11 had been drawn
    (folder / "000003.png").unlink()
    assert reported(folder) == ("drawn", 10, True)
    for k, image in enumerate(nhwc(digit_images("train")[:2])):
        Image.fromarray(image).save(folder / ("000003.png", "000011.png")[k])
    assert reported(folder) == ("drawn", 12, True)
    folder = drawn_folder(tmp_path / "other")
    write_folder(folder / "more", pixels(5, 8))
    assert reported(folder) == ("other", 17, True)
    folder = drawn_folder(tmp_path / "third")
    shutil.rmtree(folder / "shards")
    assert reported(folder) == ("third", 12, True)


def test_all_that_decided_the_images_is_in_the_record(tmp_path: Path) -> None:
    (drawn,) = records(*SMALL)
    (found,) = records("fid", "--images", drawn_folder(tmp_path / "drawn"))
    own = {"images", "images_sha256"}
    assert found["conditions"].keys() - own == drawn["conditions"].keys()
    assert {name: found["conditions"][name] for name in drawn["conditions"]} == drawn["conditions"]


def test_upsampling_parts_protocols_and_its_absence_none() -> None:
    usual = protocol({"steps": 20})
    assert protocol({"steps": 20, "upsampling": 1}) == usual != protocol({"steps": 20, "upsampling": 2})


def test_a_folder_is_of_one_kernel(tmp_path: Path) -> None:
    words = [
        "sample",
        "dim-digits",
        "--steps",
        2,
        "--num-images",
        4,
        "--batch",
        2,
        "--out",
        tmp_path / "drawn",
        "--kernel",
    ]
    assert dimbench(*words, "reference").code == 0
    said = json.loads((tmp_path / "drawn" / "manifest.json").read_text())
    assert said["kernels"]["selective_scan"] == "reference"
    (found,) = records("fid", "--images", tmp_path / "drawn")
    assert found["conditions"]["kernels"] == said["kernels"]
    assert "holds images of another run (kernels" in refused(1, *words, "cpu")


@pytest.mark.parametrize(
    "words", [["--num-images", 500], ["--steps", 10], ["--seed", 0], ["--kernel", "reference"], ["--stream"]], ids=str
)
def test_options_of_drawing_are_refused_for_images_that_are_there(words: list[object], tmp_path: Path) -> None:
    images = write_folder(tmp_path / "images", pixels(5, 8))
    for what in (["--images", images], ["--real"]):
        said = refused(2, "fid", *what, *words)
        assert f"{words[0]} is for images that are drawn, and these are there already" in said


def test_sizes_are_named_before_weights_are_asked_for(tmp_path: Path) -> None:
    images = write_folder(tmp_path / "images", pixels(5, 16))
    reference = write_folder(tmp_path / "reference", pixels(5, 8))
    said = refused(2, "fid", "--images", images, "--reference", reference)
    assert "The reference reference is of 8 x 8 pixels and the images of 16 x 16" in said
    said = refused(2, "fid", "--model", "dit-s2", "--reference", reference)
    assert "The reference reference is of 8 x 8 pixels and the images of 256 x 256" in said


def test_repeats_give_mean_spread_and_minimum() -> None:
    *singles, summary = records(*SMALL, "--seed", 3, "--repeats", 3)
    assert [record["conditions"]["seed"] for record in singles] == [3, 4, 5]
    fids = np.array([record["metrics"]["fid"] for record in singles])
    expected = {"fid_mean": fids.mean(), "fid_spread": fids.std(ddof=1), "fid_minimum": fids.min()}
    assert summary["metrics"] == pytest.approx(expected)
    assert (summary["conditions"]["repeats"], summary["samples"]["fid"]) == (3, fids.tolist())
    assert len({record["details"]["pixels_sha256"] for record in singles}) == 3
    assert singles[0]["metrics"]["fid"] == records(*SMALL, "--seed", 3)[0]["metrics"]["fid"]
    shown = dimbench(*SMALL, "--repeats", 2).stdout
    assert all(words in shown for words in ("FID-12", "seed 0", "seed 1", "mean of 2", "spread of 2", "minimum of 2"))


def test_the_plan_comes_first_and_can_come_alone(tmp_path: Path) -> None:
    ran = dimbench(*SMALL, "--plan")
    assert ran.code == 0, ran.stderr
    for words in ("dit-digits.safetensors", "12 of 8 x 8", "2 per image; 6 in all", "measured on", "kB in"):
        assert words in ran.stdout, words
    assert not (tmp_path / "results").exists()
    assert "network calls  2 per image" in dimbench(*SMALL).stderr
    missing = dimbench("fid", "--recipe", "dit-s8-256-400k-cfg1", "--num-images", 10, "--plan").stdout
    assert missing.count("missing  ") == 4
    assert "sd-vae-ft-mse, absent" in missing
    assert "250 per image" in missing
    assert "features not measured" in missing


def test_looking_at_images_is_planned_without_what_is_missing(tmp_path: Path) -> None:
    images = write_folder(tmp_path / "images", pixels(5, 16))
    for words in (("fid", "--images", images), ("stats", images, "--to", tmp_path / "new" / "reference.npz")):
        said = dimbench(*words, "--plan").stdout
        assert "5 of 16 x 16 pixels" in said
        assert "missing        --inception" in said
    assert not (tmp_path / "new").exists()
    small = write_folder(tmp_path / "small", pixels(5, 8))
    said = dimbench("stats", small, "--to", tmp_path / "new" / "reference.npz", "--plan").stdout
    assert "time           about " in said
    assert "per batch of 64" in said
    assert not (tmp_path / "new").exists()


def test_an_autoencoder_of_a_name_is_said_to_be_absent_where_it_is_missing() -> None:
    said = next(verbs.fid_task("sit-xl2", num_images=10, autoencoder="e2e-sdvae").plan())
    assert "autoencoder    e2e-sdvae, absent\n" in said
    assert "missing        --autoencoder FOLDER: the autoencoder e2e-sdvae, " in said


def test_a_disk_without_room_is_refused_before_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning.shutil, "disk_usage", lambda place: SimpleNamespace(free=100))
    said = refused(1, *SMALL)
    assert "the images need 2.30 kB" in said
    assert "100 B left" in said
    assert dimbench(*SMALL, "--stream").code == 0


def request(name: str, sampler: str, steps: int, cfg: float = 1.0) -> Request:
    found = backbone.find(name)
    return Request(backbone=found, num_images=4, steps=steps, cfg=cfg, sampler=sampler, batch=4, random_weights=True)


@pytest.mark.parametrize(
    ("name", "sampler", "steps"),
    [
        ("dit-digits", "ddpm", 5),
        ("dit-digits", "ddim", 10),
        ("sit-digits", "heun2", 3),
        ("sit-digits", "rk4", 3),
        ("sit-digits", "sde-euler", 4),
        ("sit-digits", "sde-heun", 4),
    ],
)
def test_calls_are_known_before_they_are_made(name: str, sampler: str, steps: int) -> None:
    drawing = Drawing(request(name, sampler, steps))
    list(drawing.stream())
    assert planning.calls_per_image(request(name, sampler, steps)) == drawing.drawn.network_calls


def test_an_adaptive_sampler_chooses_its_calls() -> None:
    assert planning.calls_per_image(request("sit-digits", "dopri5", 10)) is None


def test_calls_that_differ_from_batch_to_batch_are_told_as_their_mean() -> None:
    asked = replace(request("sit-digits", "dopri5", 10), batch=2, random_weights=False)
    drawings = [Drawing(asked) for _ in range(3)]
    for drawing, batches in zip(drawings, ([0, 1], [0], [1]), strict=True):
        list(drawing.draw(batches, None, lambda done: None))
    both, first, second = (drawing.drawn.network_calls or 0 for drawing in drawings)
    assert first != second
    assert both == (first + second) / 2


def test_a_batch_is_measured_warm_and_whole() -> None:
    """As on a GPU: a call takes as long for one image as for many, and the first of each number much longer."""
    now, seen = 0.0, set()

    def features(images: Tensor) -> None:
        nonlocal now
        now += 0.03 if len(images) in seen else 2.0
        seen.add(len(images))

    network = SimpleNamespace(features=features, resize="4 x 4")
    assert planning.features_seconds(network, (4, 4), 250, lambda: now) == (pytest.approx(0.03), 250)  # type: ignore[arg-type]


def test_a_call_that_takes_long_is_made_once() -> None:
    now, calls = 0.0, 0

    def features(images: Tensor) -> None:
        nonlocal now, calls
        now, calls = now + 100, calls + 1

    network = SimpleNamespace(features=features, resize="4 x 4")
    assert planning.features_seconds(network, (4, 4), 250, lambda: now) == (25_000, 1)  # type: ignore[arg-type]
    assert calls == 1


@pytest.mark.parametrize(("tick", "tried"), [(0.5, 4), (1.0, 1)])
def test_one_image_speaks_for_the_batch_where_a_batch_would_take_long(tick: float, tried: int) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += tick
        return now

    step = planning.measured_step(Drawing(request("dit-digits", "ddpm", 5)), None, clock)
    assert step == planning.StepCost(tick if tried == 4 else 4 * tick, 0.0, 0.0, tried)


def test_the_time_is_that_of_all_calls_decoding_and_features() -> None:
    step = planning.StepCost(call=2.0, decoding=1.0, features=0.5, tried=4)
    assert step.seconds(batches=10, to_read=3, calls=7) == 10 * (7 * 2 + 1 + 0.5) + 3 * 0.5


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "give one of NAME, --images PLACE, --recipe NAME or --real"),
        (["--model", "dit-digits", "--real"], "give one of"),
        (["--images", "nowhere"], "There are no images at nowhere"),
        (["--images", "empty"], "empty holds no pictures"),
        (["--images", "mixed"], "images of mixed sizes"),
        (["--images", "few", "--reference", "big"], "The reference big is of 16 x 16 pixels and the images of 8 x 8"),
        (["--images", "few", "--reference", "inception.npz"], "2048 dimensions and digits-classifier of 64"),
        (["--model", "dit-digits", "--steps", 2, "--reference", "big"], "of 16 x 16 pixels"),
        (["--model", "dit-digits", "--reference", "nowhere.npz"], "There is no reference at nowhere.npz"),
        (["--recipe", "dit-xl2-256-cfg2"], "unknown recipe 'dit-xl2-256-cfg2'; did you mean dit-xl2-256-cfg1"),
        (["--recipe", "dit-xl2-256-cfg1.5", "--cfg", 2], "--cfg is fixed by the recipe dit-xl2-256-cfg1.5"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[object], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "few", pixels(3, 8))
    write_folder(tmp_path / "big", pixels(3, 16))
    write_folder(write_folder(tmp_path / "mixed", pixels(2, 8)) / "sub", pixels(1, 16))
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "inception.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    said = refused(2, "fid", *words)
    assert sentence in said
    assert said.count("\n") == 1


def test_files_cut_off_are_one_sentence(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", arr_0=pixels(50, 8))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:5000])
    assert "cut.npz cannot be read as an npz" in refused(1, "fid", "--images", tmp_path / "cut.npz")
    said = refused(1, "fid", "--images", tmp_path / "a.npz", "--reference", tmp_path / "cut.npz")
    assert "cut.npz cannot be read as an npz" in said
    np.savez(tmp_path / "b.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    said = refused(
        1, "fid", "--images", tmp_path / "a.npz", "--inception", tmp_path / "a.npz", "--reference", tmp_path / "b.npz"
    )
    assert "a.npz is not the official Inception" in said


def test_few_and_lossy_images_are_warned_of(tmp_path: Path) -> None:
    images = write_folder(tmp_path / "jpeg", nhwc(digit_images("train")[:30]), "jpg")
    ran = dimbench("fid", "--images", images)
    assert "FID-30" in ran.stdout
    assert "30 of 30 are stored with loss (JPEG or WebP)" in ran.stdout
    assert "FID is biased upwards" in ran.stdout
    assert "the generated set has 30 images for 64 feature dimensions" in ran.stdout


def test_images_of_other_sizes_say_what_is_missing(tmp_path: Path) -> None:
    images = write_folder(tmp_path / "images", pixels(3, 256))
    said = refused(1, "fid", "--images", images)
    assert "VIRTUAL_imagenet256_labeled.npz" in said
    assert "--inception FILE" in said
    said = refused(1, "stats", images, "--out", tmp_path / "ref.npz")
    assert "--inception FILE" in said
    assert "--random-weights" not in said
    assert "is not an npz" in refused(2, "stats", images, "--out", tmp_path / "ref.txt")


def test_where_a_reference_cannot_lie_is_said_before_the_images_are_looked_at(tmp_path: Path) -> None:
    images = write_folder(tmp_path / "images", nhwc(digit_images("train")[:20]))
    (tmp_path / "folder.npz").mkdir()
    assert "is a folder" in refused(2, "stats", images, "--to", tmp_path / "folder.npz")
    said = refused(1, "stats", images, "--to", "/dev/null/ref.npz")
    assert said.startswith("dimbench: cannot write to /dev/null/ref.npz (")


@pytest.mark.parametrize("recipe", presets.recipes().values(), ids=lambda recipe: recipe.name)
def test_a_recipe_can_be_followed(recipe: presets.Recipe) -> None:
    from dimbench.diffusion.process import find_process

    preset = presets.find(recipe.model)
    find_process(preset.diffusion).check(recipe.sampling["sampler"], recipe.sampling["steps"])
    assert set(recipe.sampling) - {"with"} == {"sampler", "steps", "cfg", "autoencoder"}
    assert all(map(str, methods.parse(recipe.sampling.get("with", ()))))
    assert recipe.sampling["cfg"] >= 1
    assert all(math.isfinite(float(figure)) for figure in (recipe.fid, *recipe.also.values()))
    assert all(file in preset.checkpoints and file.resolution == recipe.resolution for file in recipe.files)
    assert recipe.source
    assert recipe.name.endswith(f"-cfg{recipe.sampling['cfg']:g}")


def test_a_recipe_that_cannot_be_drawn_names_its_preset() -> None:
    recipe = presets.find_recipe("dit-xl2-256-cfg1.5")
    for how, said in (({"sampler": "eulerr"}, "unknown sampler 'eulerr'"), ({"with": ["nothing"]}, "nothing")):
        wrong = replace(recipe, sampling={**recipe.sampling, **how})
        with pytest.raises(UsageError, match=f"{recipe.name}, as the preset dit-xl2 has it: .*{said}"):
            repeating.request(wrong, Request(backbone=backbone.find("dit-xl2"), num_images=4, steps=2))


def test_recipes_have_names_of_their_own_and_the_published_figures() -> None:
    known = presets.recipes()
    assert len({folded(name) for name in known}) == len(known)
    figures = {
        "dit-xl2-256-cfg1.5": "2.27", "dit-xl2-512-cfg1.25": "4.64", "sit-xl2-256-ode-cfg1.5": "2.15",
        "udit-l-256-400k-cfg1.5": "3.37", "dim-h2-512-64k-cfg1.7": "3.94", "dimsum-l2-256-church-cfg1": "3.76",
    }  # fmt: skip
    assert {name: known[name].fid for name in figures} == figures
    claims = {c.fid for preset in presets.all_presets().values() for c in preset.checkpoints if c.fid}
    assert claims <= {recipe.fid for recipe in known.values()}


def test_what_chooses_its_steps_is_shared_out_too() -> None:
    tasks = [verbs.fid_task(name, sampler="dopri5") for name in ("sit-digits", "dimsum-digits")]
    shards = [verbs.fid_shard(tasks, f"{part}/2")[0] for part in (1, 2)]
    assert sorted(task.name for shard in shards for task in shard) == ["dimsum-digits", "sit-digits"]


def test_models_and_recipes_are_shared_out_among_jobs(tmp_path: Path) -> None:
    words = ("fid", "dit-digits", "sit-digits", "--steps", 2, "--num-images", 20, "--random-weights")
    parts = [tmp_path / f"{part}.jsonl" for part in (1, 2)]
    for part, file in enumerate(parts, start=1):
        assert dimbench(*words, "--shard", f"{part}/2", "--out", file).code == 0
    models = [[record["model"] for record in results.read(file)] for file in parts]
    assert sorted(models) == [["dit-digits"], ["sit-digits"]]
    assert "1 of 2 rows is in no file; run --shard 2/2" in refused(1, "merge", parts[0], "--out", tmp_path / "all")
    assert dimbench("merge", *parts, "--out", tmp_path / "all.jsonl").code == 0
    assert "these images are one row" in refused(2, "fid", "--real", "--shard", "1/2")
    assert "no recipe matches 'xyz*'" in refused(2, "fid", "--recipe", "xyz*")


def test_every_recipe_of_a_wildcard_falls_to_one_shard() -> None:
    found = presets.match_recipes("udit-?-256-400k-cfg1")
    tasks = [verbs.fid_task(recipe.model, recipe=recipe) for recipe in found]
    shards = [verbs.fid_shard(tasks, f"{part}/2")[0] for part in (1, 2)]
    assert sorted(task.name for shard in shards for task in shard) == sorted(recipe.name for recipe in found)
    assert all(shards)


def test_recipes_say_what_is_missing_here() -> None:
    listed = json.loads(dimbench("recipes", "dit-xl2-256-cfg1.5", "--json").stdout)
    assert listed[0]["missing"] == ["weights", "autoencoder", "reference", "inception"]
    (dit,) = presets.recipes()["dit-xl2-256-cfg1.5"].files
    for file in (dit, *(f for group in presets.shared_files().values() for f in group.files)):
        path = catalog.path_of(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    shown = dimbench("recipes", "dit-xl2-256-*").stdout
    (line,) = (line for line in shown.splitlines() if "dit-xl2-256-cfg1.5" in line)
    assert "nothing" in line
    assert "unpublished weights" in shown
    assert "no recipe matches 'x*'" in refused(2, "recipes", "x*")


def test_a_recipe_is_followed_and_its_claim_stands_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    published = presets.find_recipe("dit-s8-256-400k-cfg1")
    short = replace(published, sampling={**published.sampling, "steps": 2, "cfg": 1.5, "sampler": "ddim"})
    monkeypatch.setattr(presets, "find_recipe", lambda name: short)
    (record,) = records("fid", "--recipe", published.name, "--num-images", 2, "--random-weights")
    assert (record["model"], record["details"]["recipe"]) == ("dit-s8", "dit-s8-256-400k-cfg1")
    assert record["details"]["claims"] == {"fid": "153.60"}
    expected = {"sampler": "ddim", "steps": 2, "cfg": 1.5, "labels": "random", "resolution": 256}
    assert {name: record["conditions"][name] for name in expected} == expected
    assert any("The claim is of 50,000 images" in warning for warning in record["warnings"])


def test_what_keeps_a_figure_from_its_claim_is_said() -> None:
    recipe = presets.find_recipe("dit-xl2-256-cfg1.5")
    followed = repeating.request(recipe, replace(request("dit-xl2", "ddpm", 250), num_images=50_000))
    assert repeating.doubts(recipe, followed) == []
    (said,) = repeating.doubts(recipe, replace(followed, autoencoder="ft-mse"))
    assert said == "The claim is with the autoencoder ft-ema, this with ft-mse."


def test_unpublished_weights_can_be_given(tmp_path: Path) -> None:
    recipe = presets.find_recipe("dit-s8-256-400k-cfg1")
    own = tmp_path / "own.pt"
    followed = repeating.request(recipe, replace(request("dit-s8", "ddpm", 250), weights=own, random_weights=False))
    assert "unpublished weights" in repeating.needs(recipe, followed)
    own.write_bytes(b"")
    assert list(repeating.needs(recipe, followed)) == ["autoencoder", "reference", "inception"]


def test_several_models_stand_side_by_side() -> None:
    ran = dimbench("fid", "dit-digits", "sit-digits", "--steps", 2, "--num-images", 20)
    assert ran.code == 0, ran.stderr
    head = next(line for line in ran.stdout.splitlines() if "dit-digits" in line)
    assert head.split()[:2] == ["dit-digits", "sit-digits"]
    assert head.count("real digits") == 1
    assert [record["model"] for record in results.read(paths.records_file())] == ["dit-digits", "sit-digits"]
