from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dimbench.errors import DimbenchError
from dimbench.sampling import export

IMAGES = torch.arange(5 * 3 * 2 * 2, dtype=torch.uint8).view(5, 3, 2, 2)


def test_an_npz_written_in_batches_is_that_of_numpy(tmp_path: Path) -> None:
    whole = export.pixels(IMAGES)
    np.savez(tmp_path / "numpy.npz", whole[:4])
    export.write_npz(tmp_path / "ours.npz", iter([whole[:3], whole[3:]]), 4)
    with zipfile.ZipFile(tmp_path / "numpy.npz") as theirs, zipfile.ZipFile(tmp_path / "ours.npz") as ours:
        assert ours.namelist() == theirs.namelist() == ["arr_0.npy"]
        assert ours.read("arr_0.npy") == theirs.read("arr_0.npy")
        assert ours.infolist()[0].compress_type == zipfile.ZIP_STORED
    assert (whole[2, 0, 1] == IMAGES[2, :, 0, 1].numpy()).all()
    assert export.rows_of(tmp_path / "ours.npz") == 4


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut off"])
def test_what_is_no_npz_has_no_rows(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.npz").write_bytes(content)
    assert export.rows_of(tmp_path / "a.npz") == 0


def test_grey_is_written_as_rgb() -> None:
    assert export.pixels(IMAGES[:, :1]).shape == (5, 2, 2, 3)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DimbenchError, match=r"cannot write .*kept as shards"):
        export.write_npz(tmp_path / "file" / "a.npz", [export.pixels(IMAGES)], 5)
