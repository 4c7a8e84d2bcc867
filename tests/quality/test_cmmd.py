"""CMMD, and the embeddings that it compares."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from dimbench.errors import DimbenchError
from dimbench.quality.clip import CLIPExtractor
from dimbench.quality.cmmd import clip_discrepancy
from tests.commands.test_fid import records
from tests.console import dimbench, refused
from tests.quality.sets import normal
from tests.quality.test_images import pixels, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    settings = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14,
        projection_dim=12,
    )  # fmt: skip
    CLIPVisionModelWithProjection(settings).save_pretrained(tmp_path / "clip")
    return tmp_path / "clip"


def test_gaussians_have_a_closed_form() -> None:
    """Of N(m, s^2) in D dimensions and a kernel of width w the mean is (w^2 / (w^2 + a))^(D/2) exp(-d^2 / 2 (w^2 + a)),
    with a the sum of the two variances and d the distance of the means."""
    x, y = normal(6000, 3), 3 * normal(6000, 3, seed=1) + 4

    def mean(a: float, d: float) -> float:
        return (100 / (100 + a)) ** 1.5 * math.exp(-d / 2 / (100 + a))

    expected = 1000 * (mean(2, 0) + mean(18, 0) - 2 * mean(10, 3 * 16))
    assert clip_discrepancy(x, y) == pytest.approx(expected, rel=0.02)


def test_a_set_is_at_no_distance_from_itself_and_rows_are_all_seen() -> None:
    x = normal(1500, 4)
    assert clip_discrepancy(x, x) == pytest.approx(0, abs=1e-9)
    kernel = torch.exp(-torch.cdist(x, x[:7]).square() / 200).mean()
    whole = clip_discrepancy(x, x[:7])
    inner = [torch.exp(-torch.cdist(each, each).square() / 200).mean() for each in (x, x[:7])]
    assert whole == pytest.approx((1000 * (inner[0] + inner[1] - 2 * kernel)).item())


def test_embeddings_have_length_one(folder: Path) -> None:
    extractor = CLIPExtractor(folder)
    found = extractor.features(torch.from_numpy(pixels(5, 20)).permute(0, 3, 1, 2))["pool"]
    assert found.shape == (5, 12)
    assert found.norm(dim=1).tolist() == pytest.approx([1.0] * 5)
    assert extractor.resize == "28 x 28, bicubic by torch"


def test_a_user_gets_cmmd_beside_the_distance_of_the_same_embeddings(folder: Path, tmp_path: Path) -> None:
    drawn, real = write_folder(tmp_path / "drawn", pixels(30, 16) // 2), write_folder(tmp_path / "real", pixels(30, 16))
    asked = ["fid", "--images", drawn, "--reference", real, "--extractor", f"clip-vit-l14-336:{folder}"]
    (found,) = records(*asked)
    x, y = (
        CLIPExtractor(folder).features(torch.from_numpy(each.copy()).permute(0, 3, 1, 2))["pool"]
        for each in (pixels(30, 16) // 2, pixels(30, 16))
    )
    assert found["metrics"]["cmmd"] == pytest.approx(clip_discrepancy(x, y), rel=1e-6)
    assert {"fid", "is_mean"}.isdisjoint(found["metrics"])
    shown = dimbench(*asked).stdout
    assert all(words in shown for words in ("CMMD", "FD-CLIP-30"))
    assert "gives no CLIP" in refused(1, *asked[:-1], f"clip-vit-l14-336:{tmp_path}")


def test_a_folder_without_all_of_its_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    """transformers would draw the rest at random."""
    from transformers import CLIPVisionModel

    CLIPVisionModel.from_pretrained(folder).save_pretrained(tmp_path / "half")
    with pytest.raises(DimbenchError, match=r"gives no CLIP: .* is not in its weights"):
        CLIPExtractor(tmp_path / "half")


def test_without_weights_it_says_where_they_are() -> None:
    with pytest.raises(DimbenchError, match="clip-vit-large-patch14-336"):
        CLIPExtractor()
