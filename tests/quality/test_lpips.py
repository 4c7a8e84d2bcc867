"""LPIPS against torch-fidelity's, by random weights in the place of the official."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dimbench.errors import DimbenchError
from dimbench.files import digest
from dimbench.quality import lpips
from dimbench.quality.lpips import LPIPS, STAGES
from tests.commands.test_fid import inception, records
from tests.console import refused
from tests.quality.test_images import pixels, write_folder
from tests.sampling.autoencoders import small

__all__ = ["inception"]  # a fixture


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """VGG16's convolutions as torchvision numbers them, and a weight of each channel."""
    folder, generator = tmp_path_factory.mktemp("weights"), torch.Generator().manual_seed(0)
    trunk: dict[str, Tensor] = {"classifier.0.bias": torch.zeros(3)}
    inputs, number = 3, 0
    for widths in STAGES:
        for width in widths:
            trunk[f"features.{number}.weight"] = torch.randn(width, inputs, 3, 3, generator=generator) / inputs**0.5 / 2
            trunk[f"features.{number}.bias"] = torch.randn(width, generator=generator) / 8
            inputs, number = width, number + 2
        number += 1  # the pooling
    scales = {
        f"lin{stage}.model.1.weight": torch.rand(1, widths[-1], 1, 1, generator=generator)
        for stage, widths in enumerate(STAGES)
    }
    torch.save(trunk, folder / "vgg16.pth")
    torch.save(scales, folder / "lpips.pth")
    return folder / "vgg16.pth", folder / "lpips.pth"


@pytest.fixture(autouse=True)
def _official(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lpips, "VGG_SHA256", digest(files[0])[:8])


def pair(size: int = 40) -> tuple[Tensor, Tensor]:
    real = torch.from_numpy(pixels(3, size).copy()).permute(0, 3, 1, 2)
    return real, (real.float() * 0.8 + 20).byte()


def test_distances_are_those_of_torch_fidelity(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity import sample_similarity_lpips as theirs
    from torchvision.models import vgg

    class Trunk(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = vgg.make_layers(vgg.cfgs["D"])
            self.load_state_dict({k: v for k, v in torch.load(files[0]).items() if k.startswith("features.")})

    def weights(*_: Any, **__: Any) -> Any:
        return torch.load(files[1])

    monkeypatch.setattr(theirs, "torchvision_load_pretrained_vgg16", Trunk)
    monkeypatch.setattr(theirs, "load_state_dict_from_url", weights)
    real, made = pair()
    expected = theirs.SampleSimilarityLPIPS("lpips-vgg16")(real, made).flatten()
    found = LPIPS(*files)(real, made)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert (found > 0).all()
    assert LPIPS(*files)(real, real).tolist() == [0.0] * 3


def test_other_files_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    torch.save({"lin0.model.1.weight": torch.ones(1, 64, 1, 1)}, tmp_path / "other.pth")
    with pytest.raises(DimbenchError, match="holds no weights of LPIPS by VGG16"):
        LPIPS(files[0], tmp_path / "other.pth")
    with pytest.raises(DimbenchError, match="is not the official VGG16"):
        LPIPS(files[1], files[1])


def test_a_user_gets_it_of_an_autoencoder(
    files: tuple[Path, Path], tmp_path: Path, inception: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dimbench.quality.networks.Networks.open", _without_vgg)
    small().save_pretrained(tmp_path / "vae")
    given = ["fid", "--images", write_folder(tmp_path / "real", pixels(12, 32)), "--autoencoder", tmp_path / "vae"]
    given += ["--inception", inception, "--lpips", files[1]]
    (found,) = records(*given, "--vgg", files[0])
    assert found["metrics"]["lpips"] > 0
    assert found["conditions"]["lpips_sha256"] == digest(files[1])[:16]
    assert not any("LPIPS" in warning for warning in found["warnings"])
    assert "--vgg FILE: the weights of VGG16, which --lpips weighs" in refused(1, *given)
    assert "give both, or leave it out" in refused(2, "fid", "--real", "--lpips", files[1])


def _without_vgg(self: Any, device: str) -> Any:
    """Precision by VGG has a test of its own, and the whole network."""
    from dimbench.quality.features import create_extractor

    return create_extractor(self.extractor, self.inception, device)
