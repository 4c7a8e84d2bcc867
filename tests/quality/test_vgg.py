"""VGG beside another extractor: a small network stands in its place, for the real one has 138 million parameters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from dimbench.errors import DimbenchError, UsageError
from dimbench.files import digest
from dimbench.quality import vgg
from dimbench.quality.features import create_extractor, extract
from dimbench.quality.references import read_reference, write_reference
from dimbench.quality.summary import summarise, summary_of
from dimbench.quality.vgg import WithVGG, vgg_sha256
from tests.quality.sets import digit_features, digit_images

DIGITS = create_extractor("digits-classifier")


class SmallVGG(nn.Module):
    """The seven layers at the end of VGG16, eight features wide, over means of 4 x 4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        hidden = [nn.Linear(48, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 8), nn.ReLU(), nn.Dropout()]
        self.classifier = nn.Sequential(*hidden, nn.Linear(8, 10))

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.classifier(nn.functional.adaptive_avg_pool2d(pixels, 4).flatten(1))
        return out


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights in the place of the official."""
    monkeypatch.setattr(torchvision.models, "vgg16", SmallVGG)
    return another(tmp_path / "vgg.pth", 0, monkeypatch)


def another(path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(seed)
    torch.save(SmallVGG().state_dict(), path)
    monkeypatch.setattr(vgg, "VGG_SHA256", digest(path)[:8])
    return path


def test_features_are_those_of_torch_fidelitys_precision_beside_the_extractors_own(weights: Path) -> None:
    from torch_fidelity.feature_extractor_vgg16 import FeatureExtractorVGG16

    layer = FeatureExtractorVGG16.get_default_feature_layer_for_metric("prc")
    (theirs,) = FeatureExtractorVGG16("vgg16", [layer], str(weights))(digit_images("held-out")[:20])
    found = extract(WithVGG(DIGITS, weights), digit_images("held-out")[:20].split(7))
    assert torch.allclose(found["vgg"], theirs, rtol=1e-5, atol=1e-6)  # float32 over other batches
    assert theirs.std() > 0
    assert torch.allclose(found["pool"], digit_features("held-out")["pool"][:20])


def test_features_are_kept_of_the_same_images_and_read_again(weights: Path, tmp_path: Path) -> None:
    extractor, images = WithVGG(DIGITS, weights), digit_images("held-out")[:50]
    summary = summarise(extractor, images.split(20), 50, keep=10)
    assert summary.features is not None
    assert summary.vgg is not None
    pool = DIGITS.features(images)["pool"]
    kept = [int((pool - row).norm(dim=1).argmin()) for row in summary.features]
    assert len(kept) == len(set(kept)) == 10
    assert torch.allclose(summary.vgg, extractor.features(images[kept])["vgg"], rtol=1e-5, atol=1e-6)
    write_reference(summary, extractor, (8, 8), tmp_path / "ref.npz")
    reference = read_reference(tmp_path / "ref.npz")
    assert reference.has_vgg
    assert torch.equal(reference.summary(extractor, 8).vgg, summary.vgg)  # type: ignore[arg-type]
    assert reference.check(extractor, (8, 8)) == reference.check(DIGITS, (8, 8)) == []


def test_a_reference_by_another_vgg_is_refused(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = WithVGG(DIGITS, weights)
    summary = summarise(extractor, [digit_images("held-out")[:20]], 20)
    write_reference(summary, extractor, (8, 8), tmp_path / "ref.npz")
    other = WithVGG(DIGITS, another(tmp_path / "other.pth", 1, monkeypatch))
    with pytest.raises(UsageError, match=r"ref\.npz was made by a VGG of other weights"):
        read_reference(tmp_path / "ref.npz").check(other, (8, 8))


def test_without_vgg_nothing_is_said_of_it(tmp_path: Path) -> None:
    write_reference(summary_of(digit_features("held-out")), DIGITS, (8, 8), tmp_path / "ref.npz")
    assert not read_reference(tmp_path / "ref.npz").has_vgg
    assert vgg_sha256(DIGITS) is None


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vgg.pth").write_bytes(b"weights")
    with pytest.raises(DimbenchError, match=r"vgg\.pth is not the official VGG16 .* not 397923af\).*give its place"):
        WithVGG(DIGITS, tmp_path / "vgg.pth")
    with pytest.raises(DimbenchError, match=r"none\.pth do not exist: download https://download\.pytorch\.org"):
        WithVGG(DIGITS, tmp_path / "none.pth")
