from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dimbench.errors import DimbenchError, UsageError
from dimbench.quality.features import Features, create_extractor, extract
from tests.quality.sets import digit_images


def test_batches_and_grey_images_give_the_same_features() -> None:
    extractor = create_extractor("digits-classifier")
    images = digit_images("held-out")[:50]
    whole = extract(extractor, [images])
    parts = extract(extractor, images[:, :1].split(7))
    assert {key: tuple(value.shape) for key, value in whole.items()} == {"pool": (50, 64), "logits": (50, 10)}
    assert all(torch.allclose(whole[key], parts[key], rtol=1e-12, atol=1e-12) for key in whole)  # float64


def test_extractors_see_three_channels_and_every_image_once() -> None:
    class Mean:
        name = "mean"

        def features(self, images: torch.Tensor) -> Features:
            return {"pool": images.double().mean(dim=(2, 3)), "logits": images.double().mean(dim=(2, 3))}

    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 1, 2, 2)
    found = extract(Mean(), images.split(2))
    assert torch.equal(found["pool"], torch.arange(5).double()[:, None].expand(5, 3))


def test_an_unknown_extractor_lists_the_known() -> None:
    with pytest.raises(UsageError, match=r"'digits-clasifier'; did you mean digits-classifier\?"):
        create_extractor("digits-clasifier")
    with pytest.raises(UsageError, match=r"'vgg'; give one of digits-classifier, inception-v3-compat"):
        create_extractor("vgg")


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, 3, dtype=torch.uint8), torch.zeros(2, 8, 8, dtype=torch.uint8)],
)
def test_images_of_another_kind_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="Features need uint8 images"):
        extract(create_extractor("digits-classifier"), [images])


def test_digits_of_another_size_are_refused() -> None:
    with pytest.raises(UsageError, match="32 x 16 pixels but knows only 8 x 8"):
        extract(create_extractor("digits-classifier"), [torch.zeros(2, 3, 32, 16, dtype=torch.uint8)])


def test_no_images_are_refused() -> None:
    with pytest.raises(UsageError, match="no images"):
        extract(create_extractor("digits-classifier"), [])


def test_missing_inception_says_what_to_fetch(tmp_path: Path) -> None:
    remedy = r"weights-inception-2015-12-05-6726825d\.pth from https://github.com/toshas/torch-fidelity.*--inception"
    with pytest.raises(DimbenchError, match=f"needs weights that dimbench does not ship: .*{remedy}"):
        create_extractor("inception-v3-compat")
    with pytest.raises(DimbenchError, match=f"nowhere.pth do not exist: .*{remedy}"):
        create_extractor("inception-v3-compat", tmp_path / "nowhere.pth")
    (tmp_path / "other.pth").write_bytes(b"something")
    with pytest.raises(DimbenchError, match="begins with 3fc9b689, not 6726825d"):
        create_extractor("inception-v3-compat", tmp_path / "other.pth")
