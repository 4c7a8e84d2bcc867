"""Whose features fid and stats compare: --extractor and --vgg as a user types them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dimbench import presets
from dimbench.weights import catalog
from tests.commands.test_fid import inception, nhwc, records
from tests.console import dimbench, refused
from tests.quality.sets import digit_images
from tests.quality.test_images import pixels, write_folder
from tests.quality.test_vgg import weights

__all__ = ["inception", "weights"]  # fixtures


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "digits", nhwc(digit_images("train")[:60]))


@pytest.mark.slow
def test_precision_and_recall_by_vgg_are_torch_fidelitys(tmp_path: Path, inception: Path, weights: Path) -> None:
    from torch_fidelity import calculate_metrics

    drawn, real = write_folder(tmp_path / "drawn", pixels(60, 16) // 2), write_folder(tmp_path / "real", pixels(80, 16))
    theirs = calculate_metrics(
        input1=str(drawn), input2=str(real), prc=True, feature_extractor="vgg16", cuda=False, cache=False,
        feature_extractor_weights_path=str(weights), verbose=False, save_cpu_ram=True,
    )  # fmt: skip
    networks = ["--inception", inception, "--vgg", weights]
    assert dimbench("stats", real, "--out", tmp_path / "ref.npz", *networks).code == 0
    for reference in (real, tmp_path / "ref.npz"):
        (found,) = records("fid", "--images", drawn, "--reference", reference, *networks)
        ours = {name: found["metrics"][f"{name}_vgg"] for name in ("precision", "recall")}
        assert ours == pytest.approx({name: theirs[name] for name in ours}, abs=1e-6)  # theirs are means in float32
        assert 0 < ours["precision"] + ours["recall"] < 2
        assert ours["precision"] != found["metrics"]["precision"]


@pytest.mark.slow
def test_the_table_and_the_protocol_name_vgg_where_it_was_asked(digits: Path, weights: Path) -> None:
    compare = ["fid", "--images", digits, "--reference", digits]
    (without,), (by_vgg,) = records(*compare), records(*compare, "--vgg", weights)
    assert "vgg_sha256" not in without["conditions"]
    assert len(by_vgg["conditions"]["vgg_sha256"]) == 16
    assert without["details"]["protocol"] != by_vgg["details"]["protocol"]
    assert by_vgg["metrics"].items() > without["metrics"].items()
    assert "VGG" not in dimbench(*compare).stdout
    shown = dimbench(*compare, "--vgg", weights).stdout
    assert "precision (VGG)" in shown
    assert "recall (VGG)" in shown


def test_a_reference_without_features_of_vgg_is_said(digits: Path, weights: Path, tmp_path: Path) -> None:
    assert dimbench("stats", digits, "--out", tmp_path / "ref.npz").code == 0
    (found,) = records("fid", "--images", digits, "--reference", tmp_path / "ref.npz", "--vgg", weights)
    assert "Precision and recall by VGG were not measured: the reference gives no such features." in found["warnings"]
    assert {"precision_vgg", "vgg_sha256"}.isdisjoint({**found["metrics"], **found["conditions"]})


def test_vgg_that_was_fetched_goes_with_inception_alone(
    digits: Path, inception: Path, weights: Path, tmp_path: Path
) -> None:
    place = catalog.path_of(presets.shared_files()["vgg16"].files[0])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(weights.read_bytes())
    compare = ["fid", "--images", digits, "--reference", digits]
    assert "precision_vgg" not in records(*compare)[0]["metrics"]
    (found,) = records(*compare, "--inception", inception)
    assert "precision_vgg" in found["metrics"]


def test_another_extractor_can_be_named(digits: Path, inception: Path, tmp_path: Path) -> None:
    named = ["--extractor", "inception-v3-compat", "--inception", inception]
    (found,) = records("fid", "--images", digits, *named)
    assert found["conditions"]["extractor"] == "inception-v3-compat"
    assert found["conditions"]["reference"] == "held-back digits"
    assert dimbench("stats", digits, "--out", tmp_path / "ref.npz", *named).code == 0
    with np.load(tmp_path / "ref.npz") as made:
        assert made["extractor"] == "inception-v3-compat"
    said = refused(2, "fid", "--images", digits, "--reference", tmp_path / "ref.npz")
    assert "was made by inception-v3-compat and not by digits-classifier" in said


@pytest.mark.parametrize(
    ("code", "words", "sentence"),
    [
        (2, ["--extractor", "inception"], "unknown feature extractor 'inception'"),
        (2, ["--extractor", "digits-classifier", "--inception", "a.pth"], "--inception gives weights of inception-v3"),
        (1, ["--extractor", "inception-v3-compat"], "--inception FILE: the weights of the Inception network"),
        (1, ["--vgg", "nowhere.pth"], "The VGG16 weights nowhere.pth do not exist: download"),
    ],
)
def test_bad_networks_are_refused(code: int, words: list[str], sentence: str, digits: Path, tmp_path: Path) -> None:
    assert sentence in refused(code, "fid", "--images", digits, *words)
    assert sentence in refused(code, "stats", digits, "--out", tmp_path / "ref.npz", *words)
    assert not (tmp_path / "ref.npz").exists()
    assert sentence in refused(code, "fid", "--model", "dit-digits", "--steps", 2, *words)


def test_a_recipe_has_its_extractor() -> None:
    said = refused(2, "fid", "--recipe", "dit-xl2-256-cfg1.5", "--extractor", "digits-classifier")
    assert "--extractor is fixed by the recipe" in said
