"""DINOv2's network from a file of the official layout, beside that of transformers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dimbench.errors import DimbenchError, UsageError
from dimbench.files import digest
from dimbench.quality import dinov2
from dimbench.quality.dinov2 import DINOv2Extractor, VisionSize, VisionTransformer, _prepared
from dimbench.quality.features import create_extractor
from tests.commands.test_fid import records
from tests.console import dimbench, refused
from tests.quality.test_images import pixels, write_folder


def theirs(grid: int = 16) -> Any:
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    settings = Dinov2Config(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=2, image_size=14 * grid, patch_size=14,
        layerscale_value=0.7,
    )  # fmt: skip
    return Dinov2Model(settings).eval()


def official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of transformers in the names of the authors' file."""
    named: dict[str, Tensor] = {}
    for name, tensor in state.items():
        name = name.replace("embeddings.patch_embeddings.projection", "patch_embed.proj")
        name = name.replace("embeddings.position_embeddings", "pos_embed").replace("embeddings.", "")
        name = re.sub(r"^(?:encoder\.)?layers?\.", "blocks.", name)
        name = re.sub(r"attention\.(?:output\.dense|o_proj)", "attn.proj", name)
        name = re.sub(r"attention\.(?:attention\.)?(query|key|value|[qkv]_proj)", lambda m: f"attn.{m[1][0]}", name)
        name = name.replace("layer_scale", "ls").replace("lambda1", "gamma").replace("layernorm", "norm")
        named[name] = tensor
    for name in [name for name in named if "attn.q." in name]:
        parts = [named.pop(name.replace("attn.q.", f"attn.{part}.")) for part in "qkv"]
        named[name.replace("attn.q.", "attn.qkv.")] = torch.cat(parts)
    return named


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(official(theirs().state_dict()), tmp_path / "dinov2_vitl14_pretrain.pth")
    return tmp_path / "dinov2_vitl14_pretrain.pth"


def images(n: int, side: int = 40) -> Tensor:
    return torch.from_numpy(pixels(n, side)).permute(0, 3, 1, 2)


def test_the_class_token_is_that_of_transformers(weights: Path) -> None:
    given = images(3)
    found = DINOv2Extractor(weights).features(given)["pool"]
    with torch.no_grad():
        expected = theirs()(_prepared(given)).last_hidden_state[:, 0]
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.std() > 0.1


def test_positions_of_a_larger_grid_are_interpolated_with_the_authors_offset() -> None:
    model = VisionTransformer(VisionSize(64, 0, 37))
    place = torch.arange(37.0)
    model.pos_embed.data[:, 1:] = (place[:, None] + 0 * place).flatten()[None, :, None]
    made = model._positions(16)[0, 1:, 0].view(16, 16)
    assert made.shape == (16, 16)
    step = 37 / 16.1
    inner = torch.arange(2, 14)
    assert torch.allclose(made[2:14, 5], (inner + 0.5) * step - 0.5, atol=0.05)


def test_pictures_are_resized_by_pillow_and_normalised() -> None:
    flat = torch.full((1, 3, 30, 30), 128, dtype=torch.uint8)
    made = _prepared(flat)
    assert made.shape == (1, 3, 224, 224)
    assert made[0, :, 0, 0].tolist() == pytest.approx([(128 / 255 - m) / s for m, s in (
        (0.485, 0.229), (0.456, 0.224), (0.406, 0.225))], rel=1e-5)  # fmt: skip


def test_the_authors_file_is_known_by_its_hash(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "is not the file of DINOv2's authors" in DINOv2Extractor(weights).doubt
    monkeypatch.setattr(dinov2, "SHA256", digest(weights))
    assert not DINOv2Extractor(weights).doubt


@pytest.mark.slow
def test_a_user_gets_a_distance_of_its_own_name(weights: Path, tmp_path: Path) -> None:
    drawn, real = write_folder(tmp_path / "drawn", pixels(30, 16) // 2), write_folder(tmp_path / "real", pixels(30, 16))
    asked = ["fid", "--images", drawn, "--reference", real, "--extractor", f"dinov2-vitl14:{weights}"]
    (found,) = records(*asked)
    assert "fid" not in found["metrics"]
    assert found["metrics"]["fd_dinov2"] > 0
    assert "is_mean" not in found["metrics"]
    assert found["conditions"]["extractor"] == "dinov2-vitl14"
    assert any("compare with no published ones" in warning for warning in found["warnings"])
    shown = dimbench(*asked).stdout
    assert "FD-DINOv2-30" in shown
    assert " FID-30" not in shown
    assert "give --extractor dinov2-vitl14:FILE" in refused(1, *asked[:-1], "dinov2-vitl14")


def test_another_file_and_another_name_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / "other.pth")
    with pytest.raises(DimbenchError, match="no ViT of DINOv2"):
        create_extractor("dinov2-vitl14", tmp_path / "other.pth")
    torch.save({"pos_embed": torch.ones(1, 5, 64)}, tmp_path / "alone.pth")
    with pytest.raises(DimbenchError, match=r"alone\.pth is no ViT of DINOv2: .* missing"):
        dinov2.DINOv2Extractor(tmp_path / "alone.pth")
    torch.save({"pos_embed": torch.ones(3, 4)}, tmp_path / "flat.pth")
    with pytest.raises(DimbenchError, match="no ViT of DINOv2"):
        create_extractor("dinov2-vitl14", tmp_path / "flat.pth")
    for place in (tmp_path, tmp_path / "nothing.pth"):
        with pytest.raises(DimbenchError, match="is no file that could give dinov2-vitl14"):
            create_extractor("dinov2-vitl14", place)
    with pytest.raises(UsageError, match="dinov2-vitl14"):
        create_extractor("dinov2")
