"""The Inception network with random weights in the official's place: the real file is too large to ship."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dimbench.errors import DimbenchError
from dimbench.quality import inception
from dimbench.quality.features import create_extractor, extract

FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}  # over other batches


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """torch-fidelity's own module, its weights as they were initialised."""
    from torch_fidelity import feature_extractor_inceptionv3 as theirs

    def initial(module: nn.Module, state: None) -> None:
        assert state is None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: None)
        patch.setattr(theirs.FeatureExtractorInceptionV3, "load_state_dict", initial)
        torch.manual_seed(0)
        module = theirs.FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits", "logits_unbiased"])
    return module


@pytest.fixture
def extractor(network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    path = tmp_path / "inception.pth"
    torch.save(network.state_dict(), path)
    monkeypatch.setattr(inception, "INCEPTION_SHA256", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    return create_extractor("inception-v3-compat", path)


def random_images(n: int) -> Tensor:
    return torch.randint(256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_features_are_torch_fidelitys(network: nn.Module, extractor: Any, capfd: pytest.CaptureFixture[str]) -> None:
    images = random_images(3)
    found = extract(extractor, images.split(2))
    pool, _, unbiased = network(images)
    assert torch.allclose(found["pool"], pool, **FLOAT32)
    assert torch.allclose(found["logits"], unbiased, **FLOAT32)
    assert capfd.readouterr() == ("", "")


def test_spatial_features_are_seven_channels_of_the_first_branch_with_the_channel_fastest(
    network: nn.Module, extractor: Any
) -> None:
    before: list[Tensor] = []
    handle = network.Mixed_6c.register_forward_hook(lambda module, given, output: before.append(output))
    network(random_images(2))
    handle.remove()
    branch = network.Mixed_6d.branch1x1  # type: ignore[union-attr]
    image = branch(before[0])[1].clamp(min=0)  # (192, 17, 17)
    expected = torch.tensor([[[image[c, i, j] for c in range(7)] for j in range(17)] for i in range(17)]).flatten()
    found = extract(extractor, [random_images(2)])["spatial"]
    assert found.shape == (2, 2023)
    assert torch.allclose(found[1], expected, **FLOAT32)
    assert expected.std() > 0


def test_weights_of_another_network_are_refused(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    with pytest.raises(DimbenchError, match=r"inception\.pth is not the official Inception .* not 6726825d"):
        create_extractor("inception-v3-compat", tmp_path / "inception.pth")
