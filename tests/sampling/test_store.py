from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dimbench.errors import DimbenchError
from dimbench.sampling.store import ImageStore

SHAPE = (1, 2, 3)
IMAGES = torch.arange(30, dtype=torch.uint8).view(5, *SHAPE)


def test_images_come_back_in_order(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "a.part", {"seed": 0}, SHAPE)
    store.append(IMAGES[:2])
    store.append(IMAGES[2:])
    again = ImageStore(tmp_path / "a.part", {"seed": 0}, SHAPE)
    assert len(again) == 5
    assert torch.equal(again.images(), IMAGES)


@pytest.mark.parametrize("lost", [1, 5, 6, 7])
def test_an_image_that_was_cut_off_is_made_again(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "a.part"
    ImageStore(path, {}, SHAPE).append(IMAGES[:3])
    path.write_bytes(path.read_bytes()[:-lost])
    store = ImageStore(path, {}, SHAPE)
    kept = 3 - -(-lost // 6)
    assert len(store) == kept
    store.append(IMAGES[kept:])
    assert torch.equal(ImageStore(path, {}, SHAPE).images(), IMAGES)


def test_another_run_is_refused(tmp_path: Path) -> None:
    ImageStore(tmp_path / "a.part", {"seed": 0}, SHAPE).append(IMAGES)
    with pytest.raises(DimbenchError, match="another run"):
        ImageStore(tmp_path / "a.part", {"seed": 1}, SHAPE)
    with pytest.raises(DimbenchError, match="another run"):
        ImageStore(tmp_path / "a.part", {"seed": 0}, (1, 3, 2))
    assert len(ImageStore(tmp_path / "a.part", {"seed": 0}, SHAPE)) == 5
