from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dimbench.data import digits
from dimbench.data.pixels import to_uint8
from dimbench.errors import DimbenchError, UsageError


def test_splits_partition_the_data() -> None:
    everything, labels = digits.load("all")
    train, train_labels = digits.load("train")
    held_out, held_out_labels = digits.load("held-out")
    assert everything.shape == (1797, 1, 8, 8)
    assert everything.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert (len(train), len(held_out)) == (1294, 503)
    mask = digits.held_out(labels)
    assert torch.equal(everything[mask], held_out)
    assert torch.equal(everything[~mask], train)
    assert torch.equal(torch.cat([train_labels, held_out_labels]).bincount(), labels.bincount())


def test_held_out_is_stratified() -> None:
    _, labels = digits.load("held-out")
    counts = labels.bincount(minlength=digits.CLASSES)
    assert counts.min() >= 49
    assert counts.max() <= 51


def test_pixels_span_minus_one_to_one_in_seventeen_values() -> None:
    images, _ = digits.load()
    assert torch.equal(images.unique(), torch.arange(17) / 8 - 1)


def test_file_is_scikit_learns() -> None:
    source = pytest.importorskip("sklearn.datasets").load_digits()
    with np.load(digits.FILE) as file:
        assert file["images"].dtype == np.uint8
        assert np.array_equal(file["images"], source.images)
        assert np.array_equal(file["labels"], source.target)


def test_maker_writes_the_shipped_file(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from dimbench.data.make_digits import make_digits

    make_digits(tmp_path / "new" / "digits.npz")
    with np.load(tmp_path / "new" / "digits.npz") as made, np.load(digits.FILE) as shipped:
        assert made.files == shipped.files
        assert all(np.array_equal(made[name], shipped[name]) for name in made.files)


def test_unknown_split_is_named() -> None:
    with pytest.raises(UsageError, match="no split 'test': choose one of train, held-out, all"):
        digits.load("test")  # type: ignore[arg-type]


def test_to_uint8_cuts_fractions_off_and_clamps() -> None:
    x = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 127 / 127.5, 1.0, 7.0])
    assert to_uint8(x).tolist() == [0, 0, 64, 128, 191, 255, 255, 255]  # 0.5, 64.25, 191.75, 255.0, 255.5


def test_to_uint8_computes_in_float32() -> None:
    x = torch.tensor([0.25], dtype=torch.bfloat16)  # 159.875, which bfloat16 would round to 160
    assert to_uint8(x).tolist() == [159]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_to_uint8_refuses_what_is_no_number(bad: float) -> None:
    with pytest.raises(DimbenchError, match="diverged"):
        to_uint8(torch.tensor([0.0, bad]))
